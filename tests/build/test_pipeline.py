from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from bertqa._progress import Progress
from bertqa.artifact import ModelInfo, Repository, file_lock, require_signed, sha256_of
from bertqa.client import QAClient
from bertqa.errors import DataError, QualityGateError
from bertqa.evaluation import QuestionScores, evaluate, read_squad
from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine, core
from bertqa_build.errors import BuildError, RecipeError
from bertqa_build.pipeline import build
from bertqa_build.recipe import Recipe, load_recipe
from tests.support.checkpoints import write_squad
from tests.support.demo import DemoBuild
from tests.support.keys import write_keys
from tests.support.self_taught import write_tiny

RECIPE = """
name: tiny
source: checkpoint
model:
  max_seq_len: 128
  doc_stride: 32
  max_question_len: 32
data:
  train: [train.json]
  evaluation: evaluation.json
quantization:
  calibration_windows: 4
gate:
  max_f1_drop: 100
"""
RUINOUS_TRAINING = ["qat.learning_rate=0.5", "qat.max_windows=8", "gate.max_f1_drop=0.5"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("inputs"), RECIPE)


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny recipe's repository and work directory."""
    folder = tmp_path_factory.mktemp("built")
    build(tiny(inputs), Repository(folder / "repository"), folder / "work")
    return folder


def tiny(inputs: Path, *overrides: str) -> Recipe:
    return load_recipe(inputs / "tiny.yaml", overrides)


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_the_demo_becomes_two_versions_that_describe_themselves(demo_build: DemoBuild) -> None:
    repository, result = demo_build.repository, demo_build.result
    assert (result.fp32.version, result.int8.version) == (1, 2)
    assert repository.versions() == repository.versions("bert-qa-onnx") == [1, 2]
    for built, precision in ((result.fp32, "FP32"), (result.int8, "INT8")):
        manifest = repository.manifest(built.version)
        assert (manifest.precision, manifest.scores) == (precision, built.scores)
        assert manifest.scores is not None
        assert manifest.recipe["name"] == demo_build.recipe.name
        assert manifest.toolchain["openvino"]
        for name, digest in manifest.files.items():
            assert sha256_of(built.directory / name) == digest
        model = core().read_model(built.directory / "model.xml")
        section = model.get_rt_info(["model_info"]).value
        in_ir = ModelInfo.from_rt_info({key: str(value) for key, value in section.items()})
        path = repository.version_dir(built.version, "bert-qa-onnx") / "model.onnx"
        properties = onnx.load(path).metadata_props
        in_onnx = ModelInfo.from_rt_info({each.key: each.value for each in properties})
        assert replace(in_ir, f1=None, exact_match=None) == replace(
            in_onnx, f1=None, exact_match=None
        )
        assert (in_ir.precision, in_ir.dataset) == (precision, "evaluation-sample.json")
        of_onnx = repository.manifest(built.version, "bert-qa-onnx").scores
        for info, scores in ((in_ir, manifest.scores), (in_onnx, of_onnx)):
            assert scores is not None
            assert info.f1 == pytest.approx(scores.f1, abs=1e-4)
            assert info.exact_match == pytest.approx(scores.exact_match, abs=1e-4)
    assert repository.manifest(2).parent == 1
    assert repository.manifest(2).gate is not None


def test_int8_is_small_and_nearly_as_good(demo_build: DemoBuild) -> None:
    def size(directory: Path) -> int:
        return sum(path.stat().st_size for path in directory.iterdir())

    repository, result = demo_build.repository, demo_build.result
    for model in ("bert-qa", "bert-qa-onnx"):
        fp32, int8 = (size(repository.version_dir(version, model)) for version in (1, 2))
        assert int8 < fp32 / 3
    assert result.int8.scores.f1 > result.fp32.scores.f1 - 1.5
    assert result.fp32.scores.f1 > 65


@pytest.mark.parametrize(
    ("model", "file", "kind"),
    [
        ("bert-qa", "model.xml", OpenVINOEngine),
        ("bert-qa-onnx", "model.onnx", OnnxRuntimeEngine),
    ],
)
def test_each_published_file_has_the_scores_in_its_own_manifest(
    built: Path,
    inputs: Path,
    model: str,
    file: str,
    kind: type[OpenVINOEngine | OnnxRuntimeEngine],
) -> None:
    repository = Repository(built / "repository")
    for version in (1, 2):
        with QAClient(transport=kind(repository.version_dir(version, model) / file)) as qa:
            scores = evaluate(qa, read_squad(inputs / "evaluation.json"))
        assert scores == repository.manifest(version, model).scores


def test_a_build_waits_for_another_one_of_the_same_recipe(copy: Path, inputs: Path) -> None:
    (copy / "work" / "tiny").mkdir(parents=True, exist_ok=True)
    lock, stages = file_lock(copy / "work" / "tiny" / "lock"), list[str]()
    held, released = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            released.wait()

    def note(progress: Progress) -> None:
        stages.append(progress.stage)
        if progress.stage.startswith("Waiting for another build of tiny"):
            released.set()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        held.wait()
        result = build(
            tiny(inputs), Repository(copy / "repository"), copy / "work", on_progress=note
        )
    assert result.int8.present
    assert released.is_set()


def test_what_is_there_is_not_made_again(copy: Path, inputs: Path) -> None:
    stages: list[str] = []

    def note(progress: Progress) -> None:
        stages.append(progress.stage)

    repository = Repository(copy / "repository")
    result = build(tiny(inputs), repository, copy / "elsewhere", on_progress=note)
    assert (result.fp32.present, result.int8.present) == (True, True)
    assert (result.fp32.version, result.int8.version) == (1, 2)
    assert repository.versions() == [1, 2]
    assert stages == [
        "Reading the recipe's data and checkpoint",
        "There already: 1 (FP32), 2 (INT8)",
    ]


def test_what_is_there_is_signed_where_it_was_not(copy: Path, inputs: Path, tmp_path: Path) -> None:
    repository, keys = Repository(copy / "repository"), write_keys(tmp_path)
    result = build(tiny(inputs), repository, copy / "work", sign=keys.sign)
    assert (result.fp32.present, result.int8.present) == (True, True)
    for version in (1, 2):
        require_signed(repository.version_dir(version), keys.verify)


def test_another_way_of_quantising_makes_a_version_of_the_same_parent(
    copy: Path, inputs: Path
) -> None:
    repository = Repository(copy / "repository")
    recipe = tiny(inputs, "quantization.preset=performance")
    result = build(recipe, repository, copy / "work")
    assert (result.fp32.version, result.fp32.present) == (1, True)
    assert (result.int8.version, result.int8.present) == (3, False)
    assert repository.manifest(3).parent == 1


def test_the_gate_refuses_keeps_and_can_be_overruled(copy: Path, inputs: Path) -> None:
    repository = Repository(copy / "repository")
    recipe = tiny(inputs, *RUINOUS_TRAINING)
    with pytest.raises(QualityGateError, match=r"F1 is .* below the 100\.00 .* allows 0\.5"):
        build(recipe, repository, copy / "work")
    assert repository.versions() == [1, 2]
    kept = [path.name for path in (copy / "work" / "tiny").glob("int8-*/exported/*")]
    assert sorted(kept) == ["model.bin", "model.onnx", "model.xml"]

    result = build(recipe, repository, copy / "work", force=True)
    assert result.int8.version == 3
    gate = repository.manifest(3).gate
    assert gate is not None
    assert (gate.passed, gate.forced) == (False, True)
    assert gate.f1_drop is not None
    assert gate.f1_drop > 0.5


def test_a_random_model_is_published_by_force_alone(inputs: Path, tmp_path: Path) -> None:
    """Its INT8 version is judged as any other: by the floors, and by what it lost."""
    write_squad(tmp_path / "strange.json")
    repository, work = Repository(tmp_path / "repository"), tmp_path / "work"
    strange = f"data.evaluation={tmp_path / 'strange.json'}"
    recipe = tiny(inputs, strange, "gate.max_f1_drop=1")
    with pytest.raises(QualityGateError, match=r"FP32 .* not published.* gate\.min_f1 asks for 20"):
        build(recipe, repository, work, allow_leakage=True)
    assert repository.versions() == []
    assert len(list(work.glob("tiny/fp32-*/exported/*"))) == 3

    result = build(recipe, repository, work, force=True, allow_leakage=True)
    for built in (result.fp32, result.int8):
        assert built.gate is not None
        assert (built.gate.passed, built.gate.forced) == (False, True)
        assert any("gate.min_exact_match" in reason for reason in built.gate.reasons)
        assert repository.manifest(built.version).gate == built.gate
    assert result.int8.gate is not None
    assert "4 questions are too few" in result.int8.gate.notes[0]
    again = build(recipe, repository, work, allow_leakage=True)
    assert again.int8.present, "its mark lets it through"


def test_what_is_there_is_judged_by_the_limits_of_now(copy: Path, inputs: Path) -> None:
    repository = Repository(copy / "repository")
    drop = repository.manifest(2).gate
    assert drop is not None
    assert drop.f1_drop is not None
    assert drop.f1_drop_low is not None
    stricter = tiny(inputs, f"gate.max_f1_drop={max(drop.f1_drop - 0.1, 0)}", "gate.min_f1_ratio=1")
    with pytest.raises(QualityGateError, match=r"makes version 2, which is published, but its"):
        build(stricter, repository, copy / "work")
    assert build(stricter, repository, copy / "work", force=True).int8.present
    impossible = tiny(inputs, "gate.min_f1_ratio=1.01", "quantization.preset=performance")
    with pytest.raises(RecipeError, match=r"No INT8 version can pass gate\.min_f1_ratio"):
        build(impossible, repository, copy / "work")
    assert repository.versions() == [1, 2]


def test_the_gate_times_int8_in_turns_with_fp32(copy: Path, inputs: Path) -> None:
    repository = Repository(copy / "repository")
    preset = "quantization.preset=performance"
    with pytest.raises(
        QualityGateError, match=r"window takes .* gate\.max_latency_ratio allows 0\.05"
    ):
        build(tiny(inputs, preset, "gate.max_latency_ratio=0.05"), repository, copy / "work")
    result = build(tiny(inputs, preset, "gate.max_latency_ratio=1000"), repository, copy / "work")
    assert result.int8.gate is not None
    assert result.int8.gate.latency_ratio is not None
    assert 0.05 < result.int8.gate.latency_ratio < 1000


def test_published_versions_are_compared_by_their_evidence(built: Path, inputs: Path) -> None:
    """What the manifests have is what an evaluation of the files finds."""
    repository, dataset = Repository(built / "repository"), read_squad(inputs / "evaluation.json")
    for version, model in ((1, "bert-qa"), (2, "bert-qa"), (2, "bert-qa-onnx")):
        manifest = repository.manifest(version, model)
        assert manifest.scores is not None
        assert manifest.evidence is not None
        each = QuestionScores.read(manifest.evidence, manifest.scores)
        assert each.dataset_sha256 == dataset.sha256
        assert 100 * each.f1.mean() == pytest.approx(manifest.scores.f1)
        assert 100 * each.exact_match.mean() == pytest.approx(manifest.scores.exact_match)
    assert manifest.schema_version == 1


def test_a_training_window_beyond_the_model_s_positions_is_refused_before_any_work(
    inputs: Path, tmp_path: Path
) -> None:
    shutil.copytree(inputs, tmp_path / "inputs")
    long = json.loads((tmp_path / "inputs" / "train.json").read_text())
    for paragraph in long["data"][0]["paragraphs"]:
        paragraph["context"] += 200 * " Rouen"
    (tmp_path / "inputs" / "train.json").write_text(json.dumps(long))
    repository = Repository(tmp_path / "repository")
    recipe = tiny(tmp_path / "inputs", "qat.learning_rate=1e-5")
    with pytest.raises(BuildError, match=r"qat\.max_seq_len .* only 128 positions"):
        build(recipe, repository, tmp_path / "work")
    assert repository.versions() == []


def test_bad_data_is_refused_before_any_work(inputs: Path, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    (tmp_path / "evaluation.json").write_text("{}", encoding="utf-8")
    recipe = tiny(inputs, f"data.evaluation={tmp_path / 'evaluation.json'}")
    with pytest.raises(DataError, match="is not SQuAD JSON"):
        build(recipe, repository, tmp_path / "work")
    assert not repository.root.exists()


def test_a_place_that_cannot_be_written_is_one_error(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=r"The build stopped: .*file.*Not a directory"):
        build(tiny(inputs), Repository(tmp_path / "repository"), tmp_path / "file")


def test_a_full_disk_is_one_error_and_nothing_is_published(inputs: Path, tmp_path: Path) -> None:
    """The largest size that a file may have, in a process of its own, stands for a full disk."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bertqa.artifact import Repository\n"
        "from bertqa_build.errors import BuildError\n"
        "from bertqa_build.pipeline import build\n"
        "from bertqa_build.recipe import load_recipe\n"
        "folder = Path(sys.argv[2])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try:\n"
        "    build(load_recipe(Path(sys.argv[1])), Repository(folder / 'repository'), folder)\n"
        "except BuildError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(inputs / "tiny.yaml"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert "Is the disk full?" in done.stdout or "File too large" in done.stdout, done.stderr
    assert Repository(tmp_path / "repository").versions() == []
