from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bertqa.artifact import Repository
from bertqa_build.errors import TrainingError
from bertqa_build.processes import count, from_first, is_first
from bertqa_build.recipe import Training
from bertqa_build.training import training_arguments
from tests.support.checkpoints import write_squad
from tests.support.documents import check_document
from tests.support.families import FAMILIES

RECIPE = """
name: tiny
source: checkpoint
model: {max_seq_len: 96, doc_stride: 16, max_question_len: 32}
data:
  train: [train.json]
  evaluation: train.json
finetune: &training
  learning_rate: 1.0e-3
  batch_size: 4
  max_seq_len: 96
  doc_stride: 16
  checkpoint_steps: 2
quantization: {calibration_windows: 2}
qat:
  learning_rate: 1.0e-3
  batch_size: 4
  max_seq_len: 96
  doc_stride: 16
  checkpoint_steps: 2
gate: {min_f1: 0, min_exact_match: 0, max_f1_drop: 100, max_unknown: 10}
""".replace(" &training", "")


def together(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `bert-qa build` in two processes, as torchrun starts them."""
    command = [
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "bertqa_cli.main", "build", str(folder / "tiny.yaml")),
        *("--repository", str(folder / "repository"), "--work-dir", str(folder / "work")),
    ]
    return subprocess.run(
        [sys.executable, *command, *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_one_process_is_the_first_and_the_only_one() -> None:
    assert (count(), is_first(), from_first(lambda: 3)) == (1, True, 3)


def test_a_step_s_windows_are_shared_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa_build.training.count", lambda: 2)
    settings = Training(learning_rate=1e-3, batch_size=6)
    assert training_arguments(settings, tmp_path, seed=0).per_device_train_batch_size == 3
    with pytest.raises(TrainingError, match="batch_size is 5, which 2 processes cannot share"):
        training_arguments(Training(learning_rate=1e-3, batch_size=5), tmp_path, seed=0)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_two_processes_build_what_one_publishes_and_reports(tmp_path: Path) -> None:
    FAMILIES[0].write(tmp_path / "checkpoint")
    write_squad(tmp_path / "train.json", copies=4)
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")

    done = together(tmp_path, "--json", "--allow-leakage")

    assert done.returncode == 0, done.stderr
    document = check_document(["build"], done.stdout)
    assert [each["version"] for each in document["versions"]] == [1, 2]
    assert Repository(tmp_path / "repository").versions() == [1, 2]
    for stage in ("Fine-tuning", "Quantisation-aware training", "Publishing the INT8 version"):
        assert done.stderr.splitlines().count(stage) == 1, stage
    for training in (tmp_path / "work").rglob("checkpoint-4"):
        state = json.loads((training / "trainer_state.json").read_text(encoding="utf-8"))
        assert state["global_step"] == 4
        assert {path.name for path in training.glob("rng_state*")} == {
            "rng_state_0.pth",
            "rng_state_1.pth",
        }

    (tmp_path / "train.json").write_text("{}", encoding="utf-8")
    refused = together(tmp_path)
    assert refused.returncode != 0
    assert refused.stderr.count("is not SQuAD JSON") == 1
    # What torchrun logs of it, an E and the date first, is its own.
    assert "Traceback" not in re.split(r"^E\d{4} ", refused.stderr, flags=re.MULTILINE)[0]
