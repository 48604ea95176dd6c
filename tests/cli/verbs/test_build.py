from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.checkpoints import write_squad

RECIPES = Path(__file__).parents[3] / "build" / "recipes"


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    return [
        *("--repository", str(tmp_path / "repository")),
        *("--work-dir", str(tmp_path / "work")),
    ]


@pytest.mark.parametrize(
    ("override", "status", "expected"),
    [
        ("gate.max_f1_drop=-1", 1, "gate.max_f1_drop is -1"),
        ("quantisation.preset=mixed", 1, "Did you mean quantization?"),
        ("source=no/such-model-anywhere", 1, "could not be downloaded"),
        ("source=./nowhere", 2, "There is no directory"),
        ("data.evaluation=absent.json", 1, "absent.json"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_clear_error_and_leaves_nothing(
    invoke: Invoke, places: list[str], tmp_path: Path, override: str, status: int, expected: str
) -> None:
    result = invoke("build", str(RECIPES / "demo.yaml"), "--set", override, *places)

    assert result.status == status
    assert expected in result.err
    assert "Traceback" not in result.err
    assert not (tmp_path / "repository").exists()


def test_a_recipe_that_is_not_there_is_named(invoke: Invoke, places: list[str]) -> None:
    result = invoke("build", "absent.yaml", *places)

    assert result.status == 2
    assert "'absent.yaml' does not exist" in result.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Name a recipe, or a checkpoint with --source and questions with --data."),
        (("--source", "x"), "Name a recipe, or a checkpoint with --source"),
        (("--data", __file__), "Name a recipe, or a checkpoint with --source"),
        (
            (str(RECIPES / "demo.yaml"), "--source", "x", "--method", "qat"),
            "--source and --method are for a build without a recipe",
        ),
        ((str(RECIPES / "demo.yaml"), "--data", __file__), "--data is for a build without"),
        (("--source", "x", "--data", "absent.csv"), "The file absent.csv does not exist"),
        (("--source", "x", "--data", "https://example.org/a.json"), "is a URL"),
        (("--source", "x", "--data", __file__, "--eval-data", "./no"), "'--eval-data': The file"),
        (
            ("--source", "x", "--data", __file__, "--method", "qat", "--precision", "fp32"),
            "--method qat trains an INT8 version, of which --precision fp32 makes none",
        ),
        (("--source", "x", "--data", __file__, "--precision", "int4"), "'int4' is not one of"),
        *(
            (("--source", "x", "--data", __file__, "--model", name), "cannot be a name in OVMS")
            for name in ("a b", "a/b", "..", ".hidden", "ä", "a:b", "a%20b", "x" * 101, "-x")
        ),
        *(
            (("--source", "x", "--data", __file__, "--model", name), "a part of another model")
            for name in (
                "bert-qa-onnx",
                "bert-qa.split",
                "bert-qa-traffic",
                "qa-trial",
                "config.json",
            )
        ),
    ],
)
def test_options_that_no_build_can_follow_are_wrong_usage(
    invoke: Invoke, places: list[str], tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    result = invoke("build", *arguments, *places)

    assert result.status == 2
    assert expected in " ".join(result.err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_a_plan_a_build_and_builds_that_differ_are_one_document_each(
    invoke: Invoke, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.families import FAMILIES

    FAMILIES[0].write(tmp_path / "checkpoint")
    data = str(write_squad(tmp_path / "questions.json", copies=4))
    source = ("--source", str(tmp_path / "checkpoint"), "--data", data, "--eval-data", data)
    options = ("--precision", "fp32", "--set", "gate.max_unknown=10", "--allow-leakage", "--force")
    command = ("build", *source, *options, *places, "--json")

    planned = invoke(*command, "--dry-run")
    assert planned.status == 0, planned.err
    plan = json.loads(planned.out)
    assert plan["steps"]
    assert plan["seconds"] == pytest.approx(sum(each["seconds"] for each in plan["steps"]))

    made = invoke(*command)
    assert made.status == 0, made.err
    built = json.loads(made.out)
    assert [(each["version"], each["present"]) for each in built["versions"]] == [(1, False)]
    assert (built["family"], built["reproducibility"]) == ([], None)

    monkeypatch.setattr("bertqa_build.reproducibility._in_its_own_process", lambda *_: {})
    monkeypatch.setattr(
        "bertqa_build.reproducibility.StageResult.is_same", property(lambda stage: False)
    )
    differs = invoke(*command, "--check-reproducible", "1")
    document = json.loads(differs.out)
    assert (differs.status, document["status"]) == (1, 1)
    assert "is not reproducible" in document["error"]
    assert [each["present"] for each in document["versions"]] == [True]
    assert document["reproducibility"]["differing"]


def test_the_help_lists_every_key(invoke: Invoke) -> None:
    shown = " ".join(invoke("build", "--help").out.split())

    for key in ("source,", "data.held_out,", "qat.distillation.weight,", "gate.max_unknown."):
        assert key in shown
