"""`bert-qa ask --on`: many files, answered by workers of Ray or Spark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bertqa._words import counted
from bertqa.client import AskOptions
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.console import print_json, stdout
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.progress import resumable, stages
from bertqa_cli.values import Whole

if TYPE_CHECKING:
    from bertqa.bulk import BulkReport, LocalModel, ServedModel

_BULK = "Files of questions, by many workers"


class EngineName(StrEnum):
    """What runs the workers."""

    RAY = "ray"
    SPARK = "spark"


On = Annotated[
    EngineName | None,
    typer.Option(
        "--on",
        is_eager=True,  # What --input and --output may be depends on it.
        help="Answer --input, also a directory, a pattern or s3://bucket/*.parquet, by workers of "
        "this engine; --output is a directory or an address.",
        rich_help_panel=_BULK,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        click_type=Whole(min=1),
        metavar="N",
        help="How many workers there are; if left out, it follows from the cores.",
        rich_help_panel=_BULK,
    ),
]
BulkRepository = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="A model repository, also s3://bucket/path: each worker loads the model, its highest "
        "version without --version, and no server is asked.",
        rich_help_panel=_BULK,
    ),
]


def model_of(
    connection: ConnectionOptions,
    repository: str | None,
    *,
    version: int | None,
    tokenizer: str | None,
) -> ServedModel | LocalModel:
    """Return the model that workers ask, or load.

    Args:
        connection: How to reach a server.
        repository: The repository to load it from, None for the server.
        version: The version, None for the default or the highest one.
        tokenizer: A tokenizer in place of the model's own.

    Raises:
        CommandError: Options for a connection were typed beside a repository.
    """
    from bertqa.bulk import LocalModel, ServedModel

    if repository is not None:
        connection.refuse("for a server, and --repository needs none.")
        return LocalModel(
            repository=repository, model=connection.model, version=version, tokenizer=tokenizer
        )
    return ServedModel(**connection.client_arguments(), version=version, tokenizer=tokenizer)


def answer_in_bulk(
    source: str,
    output: str | None,
    *,
    on: EngineName,
    workers: int | None,
    model: ServedModel | LocalModel,
    columns: Mapping[str, Any],
    top_k: int,
    options: AskOptions,
    json: bool,
) -> None:
    """Answer files by workers, and print what was done.

    Args:
        source: What to read.
        output: The directory for the answers.
        on: The engine.
        workers: How many workers, None for what follows from the cores.
        model: The model.
        columns: The names of the columns, by the keywords of `answer_files`.
        top_k: How many answers to return to a question.
        options: How answers are chosen.
        json: Whether to print JSON.

    Raises:
        CommandError: No output is named.
        BertQAError: What `answer_files` raises.
    """
    from bertqa.bulk import answer_files

    if output is None:
        raise CommandError(
            "--on needs --output, a directory for the answers or its address in a store.",
            status=Status.USAGE,
        )
    if "-" in (str(source), output):
        raise CommandError(
            "--on reads and writes files that all workers reach, not standard input and output: "
            "name a file or a directory in place of '-'.",
            status=Status.USAGE,
        )
    with resumable(), stages() as show:
        report = answer_files(
            source,
            output,
            model,
            on=on.value,
            workers=workers,
            top_k=top_k,
            on_progress=show,
            **columns,
            **options,
        )
    if json:
        print_json(asdict(report))
    else:
        _show(report, output)


def show_bad_rows(failed: int, console: Console) -> None:
    """Print how many rows have an error, and where it is.

    Args:
        failed: How many; nothing is printed for none.
        console: Where to print.
    """
    if failed:
        console.print(f"Bad rows: {failed}; their column 'error' says why.")


def _show(report: BulkReport, output: str) -> None:
    # Of these nobody knows which have an answer.
    resumed = f"; {counted(report.resumed, 'row')} by an earlier run" if report.resumed else ""
    stdout.print(
        f"{counted(report.answered, 'question')} answered by version {report.model_version} in "
        f"{counted(report.partitions, 'file')} of {escape(output)}{resumed}."
    )
    show_bad_rows(report.failed, stdout)
