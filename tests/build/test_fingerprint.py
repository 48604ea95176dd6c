"""What a build is known by: whatever changes its outcome changes its fingerprint."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import datasets
import pytest

from bertqa._data_files import DataAddress
from bertqa.evaluation import SquadDataset, read_address
from bertqa_build import fingerprint as module
from bertqa_build import recipe_data
from bertqa_build.checkpoint import Checkpoint, load_checkpoint
from bertqa_build.fingerprint import (
    checkpoint_digest,
    fp32_fingerprint,
    int8_fingerprint,
    read_data,
)
from bertqa_build.recipe import Recipe, load_recipe
from bertqa_build.recipe_data import RecipeData
from tests.support.checkpoints import write_checkpoint, write_squad

RECIPE = """
name: tiny
source: checkpoint
data:
  train: [{dataset: questions, split: train}]
  evaluation: evaluation.json
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_checkpoint(tmp_path / "checkpoint")
    write_squad(tmp_path / "evaluation.json", copies=1)
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    write_questions(tmp_path, "Who wrote it?")
    return tmp_path


def write_questions(folder: Path, question: str) -> None:
    """Put a data set where `datasets` finds it by the name in the recipe, as the hub's cache is."""
    row = {
        "id": "1",
        "question": question,
        "context": "Ada wrote it.",
        "answers": {"text": ["Ada"], "answer_start": [0]},
    }
    (folder / "questions").mkdir(exist_ok=True)
    datasets.Dataset.from_list([row]).to_json(folder / "questions" / "train.jsonl")


def checkpoint_of(folder: Path) -> Checkpoint:
    return load_checkpoint(str(folder / "checkpoint"), max_seq_len=128)


def prints(folder: Path, checkpoint: Checkpoint | None = None) -> tuple[str, str]:
    recipe: Recipe = load_recipe(folder / "tiny.yaml", [])
    data = read_data(RecipeData(recipe))
    assert all(data)  # A manifest names each source.
    checkpoint = checkpoint or checkpoint_of(folder)
    fp32 = fp32_fingerprint(recipe, checkpoint_digest(checkpoint), checkpoint.revision, data)
    return fp32, int8_fingerprint(recipe, fp32, data)


def test_the_same_is_the_same(folder: Path) -> None:
    assert prints(folder) == prints(folder)


def test_another_version_of_a_tool_is_another_build(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prints(folder)
    known = package_version
    monkeypatch.setattr(
        module, "package_version", lambda name: "99" if name == "nncf" else known(name)
    )
    assert not set(before) & set(prints(folder))


def test_another_commit_of_a_hub_s_checkpoint_is_another_build(folder: Path) -> None:
    checkpoint = checkpoint_of(folder)
    assert not set(prints(folder)) & set(prints(folder, replace(checkpoint, revision="0123")))


def test_another_revision_of_the_checkpoint_is_another_build(folder: Path) -> None:
    checkpoint = checkpoint_of(folder)
    before = prints(folder, checkpoint)
    assert not set(before) & set(prints(folder, replace(checkpoint, tokenizer_json="{}")))
    checkpoint.model.config.layer_norm_eps *= 2
    other_settings = prints(folder, checkpoint)
    assert not set(before) & set(other_settings)
    checkpoint.model.get_parameter("qa_outputs.bias").data += 1
    assert not {*before, *other_settings} & set(prints(folder, checkpoint))


def test_another_revision_of_a_data_set_is_another_build_of_what_it_decides(folder: Path) -> None:
    fp32, int8 = prints(folder)
    write_questions(folder, "Who really wrote it?")
    assert prints(folder)[0] == fp32
    assert prints(folder)[1] != int8


def test_each_source_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()
    load = read_address

    def count(address: DataAddress, **options: Any) -> SquadDataset:
        read.append(address.name)
        return load(address, **options)

    monkeypatch.setattr(recipe_data, "read_address", count)
    recipe: Recipe = load_recipe(folder / "tiny.yaml", [])
    data = RecipeData(recipe)
    read_data(data)
    data.questions(recipe.data.train)
    assert len(data.evaluation)
    assert len(read) == len(set(read)) == 1 + len(recipe.data.train)
