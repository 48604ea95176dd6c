"""A recipe with a `pruning` section, from the checkpoint to the published versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bertqa._progress import Progress
from bertqa.artifact import Repository
from bertqa_build.pipeline import build
from bertqa_build.recipe import Recipe, load_recipe
from tests.support.checkpoints import write_checkpoint, write_squad
from tests.support.self_taught import write_own_answers

RECIPE = """
name: tiny
source: checkpoint
model: {max_seq_len: 128, doc_stride: 32, max_question_len: 32}
data:
  train: [train.json]
  evaluation: evaluation.json
pruning:
  speedup: [1.3, 1.6]
  at: {batch: 2, tokens: 64, threads: 1}
  steps: 3
  calibration_windows: 8
  search_trials: 2
  batch_size: 8
  max_seq_len: 128
  doc_stride: 32
quantization: {calibration_windows: 4}
gate: {min_f1: 0, min_exact_match: 0, max_f1_drop: 100, min_pruned_f1_ratio: 0}
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_checkpoint(folder / "checkpoint")
    write_squad(folder / "train.json", copies=2)
    write_own_answers(folder / "evaluation.json")
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


def tiny(inputs: Path, *overrides: str) -> Recipe:
    return load_recipe(inputs / "tiny.yaml", overrides)


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(tiny(inputs), Repository(folder / "repository"), folder / "work", on_progress=print)
    return folder


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_one_run_makes_a_pair_of_versions_for_each_speed_up(built: Path) -> None:
    repository = Repository(built / "repository")
    assert repository.versions() == repository.versions("bert-qa-onnx") == [1, 2, 3, 4, 5, 6]
    manifests = [repository.manifest(version) for version in range(1, 7)]
    assert [each.precision for each in manifests] == ["FP32", "INT8"] * 3
    assert [each.parent for each in manifests] == [None, 1, 1, 3, 1, 5]
    assert [each.pruning and each.pruning.speedup for each in manifests] == [
        *(None, None),
        *(1.3, 1.3),
        *(1.6, 1.6),
    ]


def test_what_is_there_is_not_made_again(copy: Path, inputs: Path) -> None:
    stages: list[str] = []

    def hear(progress: Progress) -> None:
        stages.append(progress.stage)

    result = build(tiny(inputs), Repository(copy / "repository"), copy / "work", on_progress=hear)
    assert all(each.present for each in result.versions)
    assert [each.version for each in result.versions] == [1, 2, 3, 4, 5, 6]
    assert stages == ["Reading the recipe's data and checkpoint"]
