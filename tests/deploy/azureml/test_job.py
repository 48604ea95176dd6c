"""The job's own command line, run here as it is written, with local paths for its inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import Repository
from bertqa_deploy.azureml.files import Files
from tests.deploy.azureml.conftest import AZUREML
from tests.support.checkpoints import write_checkpoint, write_squad
from tools.programs import mlflow

AFTER = 6
RECIPE = """
name: tiny
source: checkpoint
model:
  max_seq_len: 128
  doc_stride: 32
  max_question_len: 32
data:
  train: [train.json]
  evaluation: dev.json
quantization:
  calibration_windows: 4
qat:
  epochs: 1
  learning_rate: 1.0
  max_windows: 8
  batch_size: 4
  max_seq_len: 128
  doc_stride: 32
gate:
  min_f1: 0
  min_exact_match: 0
  max_f1_drop: {allowed}
"""


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """The job's inputs and outputs, on this machine."""
    from tests.support.self_taught import write_own_answers

    (tmp_path / "data").mkdir()
    write_checkpoint(tmp_path / "checkpoint")
    write_squad(tmp_path / "data" / "train.json", copies=2)
    write_own_answers(tmp_path / "data" / "dev.json")
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(allowed=100), encoding="utf-8")
    return {
        "inputs.recipe": tmp_path / "tiny.yaml",
        "inputs.data": tmp_path / "data",
        "inputs.learning_rate": 5.0e-6,
        "inputs.distillation_weight": 0.9,
        "inputs.after": AFTER,
        "outputs.repository": tmp_path / "repository",
    }


def run(inputs: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in its code's directory, on the PATH that the image has."""
    job = Files(AZUREML).read("job").content
    command = str(job["command"])
    for name, value in inputs.items():
        command = command.replace("${{" + name + "}}", str(value))
    assert "${{" not in command
    folder.mkdir()
    for path in Path(job["code"]).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    programs = (mlflow().parent, Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "MLFLOW_TRACKING_URI": (folder / "runs").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.thorough
def test_the_command_publishes_a_version_and_logs_its_scores(
    inputs: dict[str, Any], tmp_path: Path
) -> None:
    done = run(inputs, tmp_path / "job")

    assert done.returncode == 0, done.stderr
    repository = Repository(tmp_path / "repository")
    assert repository.versions() == [AFTER + 1, AFTER + 2]
    manifest = repository.manifest(AFTER + 2)
    assert manifest.precision == "INT8"
    assert manifest.recipe["qat"]["learning_rate"] == 5.0e-6
    assert manifest.recipe["qat"]["distillation"]["weight"] == 0.9
    assert manifest.scores is not None
    logged = {
        path.name: float(path.read_text(encoding="utf-8").split()[1])
        for path in (tmp_path / "job" / "runs").glob("*/*/metrics/*")
    }
    assert set(logged) == {"f1", "exact_match", "fp32_f1", "fp32_exact_match"}
    assert logged["f1"] == pytest.approx(manifest.scores.f1)
    assert json.loads(done.stdout.splitlines()[-1])["f1"] == pytest.approx(manifest.scores.f1)


@pytest.mark.thorough
def test_what_the_gate_refuses_fails_the_job(inputs: dict[str, Any], tmp_path: Path) -> None:
    inputs["inputs.recipe"].write_text(RECIPE.format(allowed=0.1), encoding="utf-8")
    done = run({**inputs, "inputs.learning_rate": 0.05}, tmp_path / "job")

    assert done.returncode == 3, done.stderr
    assert Repository(tmp_path / "repository").versions() == [AFTER + 1]
    assert not (tmp_path / "job" / "runs").exists(), "nothing was logged"
