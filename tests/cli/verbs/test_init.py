from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.checkpoints import write_checkpoint, write_squad


def test_a_file_that_is_there_is_not_overwritten(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("mine")
    result = invoke("init", str(path), "--source", "x")
    assert result.status == 2
    assert "exists already, and is not overwritten" in result.err
    assert path.read_text() == "mine"
    result = invoke("init", str(tmp_path / "none" / "recipe.yaml"), "--source", "x")
    assert result.status == 2
    assert "there is no directory" in result.err


@pytest.mark.thorough
def test_a_recipe_is_written_from_options_and_from_questions(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bertqa_build.recipe import load_recipe

    write_checkpoint(tmp_path / "tiny")
    write_squad(tmp_path / "train.json")
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    first, second, third = (Path("recipes", f"{name}.yaml") for name in ("a", "b", "c"))
    result = invoke(
        *("init", str(first), "--source", "tiny", "--data", "train.json", "--method", "qat"),
        *("--eval-data", "./train.json"),
    )
    assert result.status == 0, result.err
    assert "Next: bert-qa build recipes/a.yaml --dry-run" in result.out
    answers = "nowhere/at/all\ntiny\nabsent.json\ntrain.json\n./train.json\nint8\nqat\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    result = invoke("init", str(second))
    assert result.status == 0, result.err
    assert "There is no directory" in result.err
    assert "absent.json does not exist" in result.err
    recipe = load_recipe(first)
    assert recipe.model_dump() == load_recipe(second).model_dump()
    assert recipe.address(recipe.data.train[0]).path == tmp_path / "train.json"
    assert Path(recipe.source) == tmp_path / "tiny"
    assert recipe.qat is not None
    assert recipe.model.max_seq_len == recipe.qat.max_seq_len == 128
    lines = first.read_text().splitlines()
    assert any(line.startswith("# gate: min_f1, ") for line in lines)
    assert all(len(line) <= 100 for line in lines)

    result = invoke("init", str(third), "--source", "tiny")
    assert result.status == 0, result.err
    assert load_recipe(third).data.evaluation == "rajpurkar/squad:validation"
    monkeypatch.setattr("sys.stdin", io.StringIO("tiny\n\nint8\nptq\n"))
    result = invoke("init", "recipes/d.yaml", "--eval-data", "train.json")
    assert result.status == 0, result.err
    asked = load_recipe(Path("recipes/d.yaml"))
    assert asked.data.train == ["rajpurkar/squad:train"]
    assert asked.address(str(asked.data.evaluation)).path == tmp_path / "train.json"
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    result = invoke("init", "recipes/e.yaml")
    assert result.status == 2
    assert "name the checkpoint with --source" in result.err
