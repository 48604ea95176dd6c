"""`bert-qa ask`: one question, answered from a text, a file of them, or files by many workers."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bertqa import QAClient
from bertqa._data_files import STANDARD_STREAM, standard
from bertqa._progress import ignore
from bertqa._reason import check_finite, read_finite, reason_of
from bertqa._words import counted
from bertqa.client import AskOptions
from bertqa_cli.bulk import BulkRepository, On, Workers, answer_in_bulk, model_of, show_bad_rows
from bertqa_cli.connection import DefaultConnectionOptions
from bertqa_cli.console import print_json, stderr, stdout
from bertqa_cli.datasets import data_option, there
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.formatting import headline, highlighted
from bertqa_cli.grouping import grouped_options
from bertqa_cli.options import Json, Version
from bertqa_cli.progress import resumable, stages, working
from bertqa_cli.values import Whole, output_file, refuse_typed
from bertqa_cli.verb import alone

if TYPE_CHECKING:
    from bertqa.client import BatchReport

_FILES = "Files of questions"
_SPANS = "How answers are chosen"
_WAYS = "--context TEXT, --context-file FILE, or '-' after the question for standard input"


def _input(context: typer.Context, given: str | None) -> str | None:
    """Return what to read, checked unless workers read it."""
    found: str | None = given if context.params.get("on") else there(given)
    return found


def _output(context: typer.Context, given: str | None) -> str | None:
    """Return where the answers go, checked unless workers write there."""
    if given is None or context.params.get("on"):
        return given
    return str(_file(Path(given)))


def _file(path: Path) -> Path | None:
    """Return the file for the answers, checked, unless it is standard output."""
    path = standard(path, "stdout", 1)
    if str(path) != STANDARD_STREAM:
        return output_file(path)
    if sys.__stdout__ is None:  # What `main` opened in its place keeps nothing.
        raise typer.BadParameter("standard output is closed: name a file.")
    return path


@grouped_options
def ask(
    question: Annotated[
        str | None, typer.Argument(help="The question.", show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="'-' reads the context from standard input."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="The text that holds the answer.")] = None,
    context_file: Annotated[
        Path | None, typer.Option(help="A UTF-8 file with the text; '-' is standard input.")
    ] = None,
    questions: Annotated[
        str | None,
        data_option(
            "Questions and contexts ('-' is standard input)",
            "--input",
            callback=_input,
            rich_help_panel=_FILES,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            callback=_output,
            metavar="FILE",
            help="The file for the answers to --input: .csv, .tsv, .jsonl, .ndjson (each also "
            "with .gz) or .parquet; another name has the format of --input, JSON Lines where that "
            "is JSON or a directory. '-', or none, is standard output.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    question_column: Annotated[
        str,
        typer.Option(help="The column of the questions, in any case.", rich_help_panel=_FILES),
    ] = "question",
    context_column: Annotated[
        str,
        typer.Option(help="The column of the contexts, in any case.", rich_help_panel=_FILES),
    ] = "context",
    id_column: Annotated[
        str | None,
        typer.Option(
            help="A column that has to be there and filled; all columns but the context are kept.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    on: On = None,
    workers: Workers = None,
    repository: BulkRepository = None,
    version: Version = None,
    top_k: Annotated[
        int,
        typer.Option(click_type=Whole(min=1), metavar="N", help="How many answers, best first."),
    ] = 1,
    max_answer_len: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="How many tokens an answer has at most; 15 if left out.",
            rich_help_panel=_SPANS,
        ),
    ] = None,
    doc_stride: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=0),
            metavar="N",
            help="How many tokens neighbouring windows share; the model's own if left out.",
            rich_help_panel=_SPANS,
        ),
    ] = None,
    align_to_words: Annotated[
        bool,
        typer.Option(help="Whether to widen answers to whole words.", rich_help_panel=_SPANS),
    ] = True,
    handle_impossible_answer: Annotated[
        bool,
        typer.Option(
            "--handle-impossible-answer", help='Let "no answer" compete with the answers.'
        ),
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="A tokenizer file, directory or hub id in place of the model's own."),
    ] = None,
    *,
    connection: DefaultConnectionOptions,
    json: Json = False,
) -> None:
    """Ask a served model a question about a text, or all questions of a file."""
    one = _one_question(question, source, context, context_file, questions, output)
    if one is not None:
        refuse_typed({"question_column", "context_column", "id_column", "on"}, "for --input.")
    if on is None:
        refuse_typed({"workers", "repository"}, "for --on.")
    options = AskOptions(
        align_to_words=align_to_words, handle_impossible_answer=handle_impossible_answer
    )
    if max_answer_len is not None:
        options["max_answer_len"] = max_answer_len
    if doc_stride is not None:
        options["doc_stride"] = doc_stride
    if on is not None:
        assert questions is not None
        answer_in_bulk(
            questions,
            output,
            on=on,
            workers=workers,
            model=model_of(connection, repository, version=version, tokenizer=tokenizer),
            columns={
                "question_column": question_column,
                "context_column": context_column,
                "id_column": id_column,
            },
            top_k=top_k,
            options=options,
            json=json,
        )
        return
    target = None if one is not None else Path(output) if output else _file(Path(STANDARD_STREAM))
    is_piped = target is not None and str(target) == STANDARD_STREAM
    if json and is_piped:
        raise CommandError(
            "--json and the answers would both go to standard output: name a file with --output.",
            status=Status.USAGE,
        )
    with connection.open_client(version=version, tokenizer=tokenizer) as client:
        if one is not None:
            _ask_one(client, *one, top_k, options, json=json)
            return
        from bertqa.client import answer_file

        assert questions is not None
        assert target is not None
        # The answers show how far it is, where they are on the terminal themselves.
        are_shown = is_piped and sys.stdout.isatty()
        with (
            nullcontext() if is_piped else resumable(),
            nullcontext(ignore) if are_shown else stages() as show,
        ):
            report = answer_file(
                client,
                questions,
                target,
                top_k=top_k,
                question_column=question_column,
                context_column=context_column,
                id_column=id_column,
                on_progress=show,
                **options,
            )
    if json:
        print_json(asdict(report))
    else:
        _show_report(report, target, stderr if is_piped else stdout)


def _ask_one(
    client: QAClient, question: str, text: str, top_k: int, options: AskOptions, *, json: bool
) -> None:
    with working("Asking"):
        answers = client.answers(question, text, top_k=top_k, **options)
    if json:
        print_json({"answers": [asdict(answer) for answer in answers]})
        return
    for answer in answers:
        stdout.print(headline(answer))
        stdout.print(highlighted(answer, text))


def _show_report(report: BatchReport, output: Path, console: Console) -> None:
    resumed = f", {report.resumed} of them by an earlier run" if report.resumed else ""
    where = "" if str(output) == STANDARD_STREAM else f" in {escape(str(output))}"
    console.print(f"{counted(report.answered, 'question')} answered{where}{resumed}.")
    show_bad_rows(report.failed, console)


def _one_question(
    question: str | None,
    source: str | None,
    context: str | None,
    context_file: Path | None,
    questions: str | None,
    output: str | None,
) -> tuple[str, str] | None:
    """Return the question and its context, or None where a file has them. Raises CommandError."""
    if questions is None and output is not None:
        raise CommandError(
            "--output is for the answers to --input, a file of questions.", status=Status.USAGE
        )
    if question is not None and questions is None:
        return question, _context(source, context, context_file)
    if question is not None or (context, context_file) != (None, None):
        raise CommandError(
            "Either a QUESTION with its context or --input is needed, not both.",
            status=Status.USAGE,
        )
    if questions is None:
        raise CommandError(
            "There is no question: type a QUESTION, or --input for a file of them.",
            status=Status.USAGE,
        )
    return None


def _context(source: str | None, context: str | None, context_file: Path | None) -> str:
    if source not in (None, STANDARD_STREAM):
        raise CommandError(
            f"There is one argument too many: {source!r}. Pass the context as {_WAYS}.",
            status=Status.USAGE,
        )
    given = [value is not None for value in (source, context, context_file)]
    if sum(given) != 1:
        raise CommandError(
            f"Pass the context exactly once: {_WAYS}.",
            status=Status.USAGE,
        )
    if context == STANDARD_STREAM:
        raise CommandError(
            f"--context takes the text itself, and not '-'. Pass {_WAYS}.",
            status=Status.USAGE,
        )
    if context is not None:
        return context
    path = None if str(context_file) == STANDARD_STREAM else context_file
    name = "standard input" if path is None else str(path)
    try:
        if path is None:
            check_finite(sys.stdin.buffer)
            return _decoded(sys.stdin.buffer.read(), name)
        return _decoded(read_finite(path), name)
    except OSError as error:
        raise CommandError(
            f"The context from {name} cannot be read: {reason_of(error)}.",
            status=Status.USAGE,
        ) from error


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"The context from {name} is not UTF-8: {error.reason} at byte {error.start}.",
            status=Status.USAGE,
        ) from error


app = alone(ask)
