from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bertqa._progress import Progress
from bertqa.artifact import Provenance, Repository
from bertqa_build.errors import BuildError
from bertqa_build.pipeline import build
from bertqa_build.recipe import Recipe, load_recipe
from bertqa_build.reproducibility import check_reproducible
from bertqa_build.result import BuildResult
from tests.support.models import write_manifest
from tests.support.self_taught import write_tiny

RECIPE = """
name: tiny
source: checkpoint
model: {max_seq_len: 128, doc_stride: 32, max_question_len: 32}
data: {train: [train.json], evaluation: evaluation.json}
finetune: {learning_rate: 1.0e-4, max_windows: 4, batch_size: 2}
quantization: {calibration_windows: 4}
qat: {learning_rate: 1.0e-4, max_windows: 4, batch_size: 2}
gate: {max_f1_drop: 100, min_f1: 0, min_exact_match: 0}
"""
STAGES = [
    "fine-tuning",
    *(f"FP32 {name}" for name in ("OpenVINO IR", "ONNX", "scores")),
    "calibration",
    "quantisation-aware training",
    *(f"INT8 {name}" for name in ("OpenVINO IR", "ONNX", "scores")),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("reproducible"), RECIPE)


@pytest.fixture(scope="module")
def recipe(inputs: Path) -> Recipe:
    return load_recipe(inputs / "tiny.yaml")


@pytest.fixture(scope="module")
def built(inputs: Path, recipe: Recipe) -> BuildResult:
    return build(recipe, Repository(inputs / "repository"), inputs / "work", force=True)


def end_at_once(*_: object) -> None:
    os._exit(9)


def test_a_process_that_the_system_ends_is_an_error(
    inputs: Path, recipe: Recipe, built: BuildResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa_build.reproducibility._again", end_at_once)
    where = Repository(inputs / "repository"), inputs / "work"
    with pytest.raises(BuildError, match="was ended by the system"):
        check_reproducible(recipe, *where, built, 1)


def test_every_stage_makes_the_same_bytes_in_another_process(
    inputs: Path, recipe: Recipe, built: BuildResult
) -> None:
    seen: list[Progress] = []
    before = sorted(inputs.rglob("*"))

    found = check_reproducible(
        recipe,
        Repository(inputs / "repository"),
        inputs / "work",
        built,
        1,
        on_progress=seen.append,
    )

    assert [stage.name for stage in found.stages] == STAGES
    assert found.differing is None, found
    assert all(len(stage.digests) == 2 and all(stage.digests) for stage in found.stages)
    assert found.notes == ()
    assert sorted(inputs.rglob("*")) == before
    assert (seen[-1].done, seen[-1].total) == (1, 1)
    assert found.to_dict()["differing"] is None


def test_the_first_stage_that_differs_is_named(
    inputs: Path,
    recipe: Recipe,
    built: BuildResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if another build had been made elsewhere, of which one stage is not kept."""
    copy = Path(shutil.copytree(inputs, tmp_path / "copy"))
    (calibrated,) = copy.glob("work/tiny/int8-*/calibrated")
    (trained,) = copy.glob("work/tiny/int8-*/pytorch")
    shutil.rmtree(calibrated)
    (trained / "model.safetensors").write_bytes(b"other")
    repository = Repository(copy / "repository")
    provenance = replace(
        repository.manifest(1).provenance or Provenance(), machine="another machine"
    )
    write_manifest(
        repository.version_dir(1),
        **{
            name: getattr(repository.manifest(1), name)
            for name in ("precision", "scores", "evidence", "recipe", "inputs_sha256")
        },
        provenance=provenance,
    )
    monkeypatch.setattr(
        "bertqa_build.reproducibility._in_its_own_process",
        lambda *_: dict.fromkeys(STAGES, "0"),
    )

    found = check_reproducible(recipe, repository, copy / "work", built, 1)

    by_name = {stage.name: stage for stage in found.stages}
    assert by_name["calibration"].is_same
    assert not by_name["quantisation-aware training"].is_same
    assert found.differing is by_name["fine-tuning"]
    (note,) = found.notes
    assert note.startswith("Version 1 was built on another machine: another machine.")
