"""A recipe with a `pruning` section, from the checkpoint to the published versions."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bertqa._progress import Progress
from bertqa.artifact import Repository
from bertqa.runtime.openvino import core
from bertqa_build import export
from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.errors import BuildError, CheckpointError, PartlyRefusedError
from bertqa_build.pipeline import build, plan
from bertqa_build.pruning import gradual
from bertqa_build.pruning.sizes import Sizes, sizes_of
from bertqa_build.recipe import Recipe, load_recipe
from bertqa_build.work_files import PRUNED
from tests.support.documents import check_document
from tests.support.families import FAMILIES
from tests.support.self_taught import write_tiny

pytestmark = pytest.mark.timeout(900)

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
AT_ONCE = ["pruning.epochs_per_step=0", "pruning.speedup=1.4"]


def by_size(sizes: Sizes, whole: Sizes, place: object) -> float:
    """Return a speed-up that every run measures alike."""
    one, other = (
        sum(16 * each.heads + each.neurons + 8 for each in layers) for layers in (whole, sizes)
    )
    return one / other


@pytest.fixture(scope="module", autouse=True)
def _alike() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradual, "speedup_of", by_size)
        # Engines round random weights so differently that an INT8 model of 2 layers shows it.
        patch.setattr(export, "INT8_TOLERANCE", math.inf)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("inputs"), RECIPE)


def tiny(inputs: Path, *overrides: str) -> Recipe:
    return load_recipe(inputs / "tiny.yaml", overrides)


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    build(tiny(inputs), Repository(folder / "repository"), folder / "work")
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
    for first, second in ((2, 3), (4, 5)):
        one, other = manifests[first].pruning, manifests[first + 1].pruning
        assert one is not None
        assert other is not None
        assert (one.heads, one.neurons) == (other.heads, other.neurons)
        assert one.measured > 0
        assert second == first + 1
    gate = manifests[2].gate
    assert gate is not None
    assert gate.parent_f1 is not None
    assert gate.min_f1_ratio == 0


def test_no_mask_and_no_zero_weight_is_left_in_the_files(built: Path) -> None:
    repository = Repository(built / "repository")
    head, neuron = 3 * (8 * 32 + 8) + 8 * 32, 32 + 1 + 32
    left = []
    for version in (3, 5):
        pruning = repository.manifest(version).pruning
        assert pruning is not None
        left.append(head * sum(pruning.heads) + neuron * sum(pruning.neurons))
    # How much each takes away is by measured times, which may call for the same twice.
    assert left[0] >= left[1]
    for model, file in (("bert-qa", "model.bin"), ("bert-qa-onnx", "model.onnx")):
        paths = [repository.version_dir(version, model) / file for version in (3, 5)]
        before, after = (path.stat().st_size for path in paths)
        # Fewer operations are fewer bytes too, but for those of names and alignment.
        assert before - after >= 4 * (left[0] - left[1]) - 512
    graph = core().read_model(repository.version_dir(5) / "model.xml")
    for each in graph.get_ops():
        is_weight = each.get_type_name() == "Constant" and each.get_element_type().is_real()
        if is_weight and min([*each.get_output_shape(0)], default=0) > 1:
            assert np.abs(each.get_data()).sum(axis=0).all()


def test_what_is_there_is_not_made_again(copy: Path, inputs: Path) -> None:
    stages: list[str] = []

    def hear(progress: Progress) -> None:
        stages.append(progress.stage)

    result = build(tiny(inputs), Repository(copy / "repository"), copy / "work", on_progress=hear)
    assert all(each.present for each in result.versions)
    assert [each.version for each in result.versions] == [1, 2, 3, 4, 5, 6]
    assert stages == [
        "Reading the recipe's data and checkpoint",
        (
            "There already: 1 (FP32), 2 (INT8), 3 (FP32 at 1.3x), 4 (INT8 at 1.3x), "
            "5 (FP32 at 1.6x), 6 (INT8 at 1.6x)"
        ),
    ]


def test_a_dry_run_says_what_would_be_pruned(copy: Path, inputs: Path, tmp_path: Path) -> None:
    published = Repository(copy / "repository")
    there = plan(tiny(inputs), published, copy / "work")
    assert there.steps == ()
    assert there.published[2:] == (
        "FP32 and INT8 at 1.3x: versions are there already",
        "FP32 and INT8 at 1.6x: versions are there already",
    )
    more = plan(tiny(inputs, "pruning.speedup=[1.6, 400]"), published, copy / "work")
    assert more.pruning is not None
    assert [each.can_be_reached for each in more.pruning.asked] == [True, False]
    with pytest.raises(BuildError, match="calibration data are too few"):
        plan(tiny(inputs, "pruning.calibration_windows=1"), published, copy / "work")

    before = set(tmp_path.rglob("*"))
    fresh = plan(tiny(inputs), Repository(tmp_path / "fresh"), tmp_path / "work")
    assert set(tmp_path.rglob("*")) == before
    steps = [each.what.split(" ")[0] for each in fresh.steps]
    assert steps.count("Prune") == steps.count("Distil") == 3
    assert steps.count("Export") == 6
    assert [each.purpose for each in fresh.parts] == ["Calibrate", "Distil", "Evaluate"]
    assert fresh.pruning is not None
    document = check_document(["build", "--dry-run"], json.dumps(fresh.to_dict()))
    assert document["pruning"]["max_speedup"] > 1


def test_a_run_that_is_interrupted_again_and_again_makes_the_same(
    built: Path, inputs: Path, tmp_path: Path
) -> None:
    work, repository = tmp_path / "work", Repository(tmp_path / "repository")
    shutil.copytree(built / "work" / "latency-tables", work / "latency-tables")
    stopped: set[str] = set()

    def stop(progress: Progress) -> None:
        stage = re.split(" on | is ", progress.stage)[0]
        kind = f"{stage}{progress.done == progress.total}"
        if "1.6x" in kind and kind not in stopped:
            stopped.add(kind)
            raise KeyboardInterrupt

    for _ in range(20):
        try:
            build(tiny(inputs), repository, work, on_progress=stop)
            break
        except KeyboardInterrupt:
            continue
    assert {each.split(" ")[0] for each in stopped} >= {"Pruning", "Distilling", "Publishing"}
    whole = Repository(built / "repository")
    for version in whole.versions():
        one, other = (each.manifest(version) for each in (whole, repository))
        assert one.files["model.bin"] == other.files["model.bin"]


def test_pruning_at_once_reads_back_as_a_checkpoint_like_any_other(
    copy: Path, inputs: Path, tmp_path: Path
) -> None:
    repository = Repository(copy / "repository")
    result = build(tiny(inputs, *AT_ONCE), repository, copy / "work")
    assert [each.version for each in result.pruned] == [7, 8]
    pruning = repository.manifest(7).pruning
    assert pruning is not None
    (folder,) = (
        each
        for each in (copy / "work" / "tiny").glob(f"pruned-*/{PRUNED}")
        if not (each.parent / "distilled").exists()
    )
    loaded = load_checkpoint(str(folder), max_seq_len=128)
    assert [size.heads for size in sizes_of(loaded.model)] == list(pruning.heads)
    assert [size.neurons for size in sizes_of(loaded.model)] == list(pruning.neurons)

    again = build(
        tiny(inputs, f"source={folder}", "pruning=null"),
        Repository(tmp_path / "again"),
        tmp_path / "work",
    )
    assert again.fp32.scores == result.pruned[0].scores


def test_both_precisions_of_a_speed_up_are_one_model(copy: Path, inputs: Path) -> None:
    repository = Repository(copy / "repository")
    for model in ("bert-qa", "bert-qa-onnx"):
        shutil.rmtree(repository.version_dir(6, model))
    # As a build in another work directory prunes, whose measurements differ.
    path = repository.version_dir(5) / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["pruning"]["neurons"] = [32, 0]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(BuildError, match=r"Version 5, FP32 at 1.6x.*\[32, 0\].*delete version 5"):
        build(tiny(inputs), repository, copy / "work")
    assert repository.versions() == [1, 2, 3, 4, 5]


def test_a_version_that_is_refused_does_not_stop_the_others(copy: Path, inputs: Path) -> None:
    repository = Repository(copy / "repository")
    refusing = ["pruning.speedup=[1.35, 1.7]", "pruning.epochs_per_step=0"]
    with pytest.raises(PartlyRefusedError, match=r"at 1.35x is not.*at 1.7x is not") as caught:
        build(tiny(inputs, *refusing, "gate.min_pruned_f1_ratio=1.5"), repository, copy / "work")
    assert "gate.min_pruned_f1_ratio asks for 1.5" in str(caught.value)
    assert str(caught.value).endswith("Published of this recipe: 1 (FP32), 2 (INT8).")
    assert caught.value.unpruned == 1
    assert repository.versions() == [1, 2, 3, 4, 5, 6]


def test_the_command_shows_what_is_published_beside_what_is_refused(
    copy: Path, inputs: Path
) -> None:
    changes = ["pruning.speedup=1.35", "pruning.epochs_per_step=0", "gate.min_pruned_f1_ratio=1.5"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bertqa_cli.main", "build", str(inputs / "tiny.yaml")),
            *("--repository", str(copy / "repository"), "--work-dir", str(copy / "work")),
            *(word for each in changes for word in ("--set", each)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "Published of this recipe: 1 (FP32), 2 (INT8)." in " ".join(done.stderr.split())
    assert "best at its" in done.stdout
    rows = {row.split()[1] for row in done.stdout.splitlines() if row.startswith("│ ")}
    assert rows >= {"1", "2", "3", "4"}


@pytest.mark.parametrize(
    ("overrides", "kind", "expected"),
    [
        (["pruning.speedup=900"], BuildError, r"of 900 cannot be reached.* times as fast as"),
        (["pruning.at.threads=9999"], BuildError, "cores to measure with"),
        (["pruning.latency_table=absent.json"], BuildError, "absent.json cannot be read"),
        (["pruning.calibration_windows=1"], BuildError, "calibration data are too few"),
        (["pruning.at.tokens=192"], BuildError, "at.tokens is 192.* only 128 positions"),
        (["pruning.max_seq_len=384"], BuildError, "max_seq_len is 384.* only 128 positions"),
    ],
)
def test_what_cannot_be_pruned_is_refused_before_any_version(
    built: Path,
    inputs: Path,
    tmp_path: Path,
    overrides: list[str],
    kind: type[Exception],
    expected: str,
) -> None:
    shutil.copytree(built / "work" / "latency-tables", tmp_path / "work" / "latency-tables")
    with pytest.raises(kind, match=expected):
        build(tiny(inputs, *overrides), Repository(tmp_path / "repository"), tmp_path / "work")
    assert Repository(tmp_path / "repository").versions() == []


def test_a_family_that_cannot_be_pruned_is_refused(inputs: Path, tmp_path: Path) -> None:
    row = next(each for each in FAMILIES if each.model_type == "albert")
    row.write(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="ALBERT has another attention"):
        build(
            tiny(inputs, f"source={tmp_path / 'checkpoint'}", "gate.max_unknown=100"),
            Repository(tmp_path / "repository"),
            tmp_path / "work",
        )
