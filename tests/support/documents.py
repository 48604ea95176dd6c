"""What --json prints, against the schema that the verb has for it."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import click
import typer
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from bertqa_cli.app import app
from bertqa_cli.catalog import VERBS, load
from bertqa_cli.schemas import ERROR, VERSION, names, schema_of


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(name))


def verb_of(arguments: Sequence[str]) -> str:
    """The verb that a command line names, with those below it; empty where it names none."""
    command: click.Command | None = typer.main.get_command(app)
    path: list[str] = []
    for word in arguments:
        if word not in getattr(command, "commands", {}):
            break
        command = load(word) if not path and word in VERBS else command.commands[word]  # type: ignore[union-attr]
        path.append(word)
    return " ".join(path)


def check_document(arguments: Sequence[str], out: str) -> dict[str, Any]:
    """Return the one document that a command line printed, which its verb's schema describes."""
    document: dict[str, Any] = json.loads(out)
    name = verb_of(arguments) or VERSION
    validator = _validator(name if name in names() else ERROR)
    problem = best_match(validator.iter_errors(document))
    assert problem is None, f"bert-qa {name} --json: {problem}"
    return document
