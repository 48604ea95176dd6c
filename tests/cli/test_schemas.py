"""The schemas of what --json prints: every verb has one, and each says what its keys are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator, ValidationError

from bertqa_cli import schemas
from bertqa_cli.console import print_json
from bertqa_cli.schemas import ERROR, VERSION, names, schema_of
from tests.cli.conftest import Invoke
from tests.cli.test_help import ALL
from tests.support.documents import check_document, verb_of

WITHOUT_JSON = {"azureml": "It is a group, and does nothing without what is below it."}


def has_json(command: click.Command) -> bool:
    return any("--json" in each.opts for each in command.params)


def parts(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each schema within a schema, with its place."""
    if isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from parts(each, f"{place}/{number}")
    elif isinstance(schema, dict):
        yield place, schema
        for key, each in schema.items():
            yield from parts(each, f"{place}/{key}")


def test_every_verb_has_json_and_a_schema() -> None:
    assert {path for path, command in ALL.items() if not has_json(command)} == set(WITHOUT_JSON)
    verbs = {path or VERSION for path, command in ALL.items() if has_json(command)}
    assert set(names()) == {*verbs, ERROR}


@pytest.mark.parametrize("name", names())
def test_a_schema_is_valid_whole_in_itself_and_explains_each_key(name: str) -> None:
    schema = schema_of(name)

    Draft202012Validator.check_schema(schema)
    for place, part in parts(schema):
        reference = part.get("$ref", "#/$defs/error")
        assert reference.rpartition("/")[2] in schema["$defs"], place
        assert reference.startswith("#/$defs/"), place
        if place.endswith("/properties"):
            for key, each in part.items():
                assert each["description"].endswith("."), f"{place}/{key}"
        elif "required" in part:
            assert set(part["required"]) <= part["properties"].keys(), place
            composed = place.startswith("/$defs/") or "allOf" in part or "$schema" in str(part)
            assert part.get("additionalProperties") is False or composed, place
    for form in schema.get("anyOf", []):
        assert form["title"]
    assert not Draft202012Validator(schema).is_valid({"surprise": 1})
    assert not Draft202012Validator(schema).is_valid([])
    error = {"error": "It failed.", "detail": None, "status": 1}
    assert Draft202012Validator(schema).is_valid(error)
    assert not Draft202012Validator(schema).is_valid({**error, "surprise": 1})


def test_every_part_is_of_use() -> None:
    used = {part for name in names() for part in schema_of(name)["$defs"]}
    file = resources.files(schemas) / "parts.json"
    assert used == json.loads(file.read_text(encoding="utf-8"))["$defs"].keys()


def test_help_prints_the_schema_of_a_verb(invoke: Invoke) -> None:
    shown, unknown = invoke("help", "json", "versions", "show"), invoke("help", "json", "aks")

    assert json.loads(shown.out) == schema_of("versions show")
    assert (unknown.status, "Did you mean 'ask'?" in unknown.err) == (2, True)


@pytest.mark.parametrize("typed", [(), ("json",), ("ask",), ("versions", "show"), ("json", "ask")])
def test_help_is_a_document_too(invoke: Invoke, typed: tuple[str, ...]) -> None:
    assert invoke("help", *typed, "--json").status == 0


def test_help_of_a_verb_that_is_not_there_is_wrong_usage(invoke: Invoke) -> None:
    assert invoke("help", "versions", "shwo", "--json").status == 2


def test_what_a_schema_does_not_have_fails_the_test_that_prints_it() -> None:
    answer = {"text": "", "start": 0, "end": 0, "score": 0.5, "model_version": 1}
    assert check_document(["ask", "Who?", "--json"], json.dumps({"answers": [answer]}))
    for wrong in ({**answer, "version": 1}, {"text": ""}, {**answer, "score": 50}):
        with pytest.raises(AssertionError, match="bert-qa ask --json"):
            check_document(["ask"], json.dumps({"answers": [wrong]}))
    with pytest.raises(ValueError, match="Extra data"):
        check_document(["ask"], "{}\n{}")
    assert verb_of(["versions", "show", "1", "--json"]) == "versions show"
    with pytest.raises(ValidationError):
        Draft202012Validator(schema_of("versions show")).validate({"version": 1})


def test_what_fails_after_its_document_prints_no_second_one(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def topics_and_an_error() -> None:
        print_json({"topics": {}})
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bertqa_cli.verbs.help.show_topics", topics_and_an_error)

    result = invoke("help")

    assert (result.status, json.loads(result.out)) == (1, {"topics": {}})
    assert "No space left on device" in result.err


def test_json_that_a_file_sets_holds_for_an_error(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "bertqa.toml").write_text("[versions]\njson = true\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    result = invoke("versions", "--repository", "absent")

    assert result.status == 1
    assert check_document(["versions"], result.out)["error"] in result.err
