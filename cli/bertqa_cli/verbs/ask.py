"""`bert-qa ask`: one question, answered from a text."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bertqa import TLS, QAClient
from bertqa_cli.console import highlighted, print_json, stdout
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.options import (
    DEFAULT_MODEL,
    DEFAULT_URL,
    Authority,
    Certificate,
    Json,
    Key,
    MetadataUrl,
    Model,
    Url,
    Version,
)

STANDARD_INPUT = "-"


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="'-' reads the context from standard input."),
    ] = None,
    context: Annotated[str | None, typer.Option(help="The text that holds the answer.")] = None,
    context_file: Annotated[
        Path | None, typer.Option(help="A UTF-8 file with the text; '-' is standard input.")
    ] = None,
    url: Url = DEFAULT_URL,
    model: Model = DEFAULT_MODEL,
    version: Version = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many answers, best first.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait at most.")] = 30.0,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="A tokenizer file, directory or hub id instead of the model's own."),
    ] = None,
    metadata_url: MetadataUrl = None,
    ca: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Ask a served model a question about a text."""
    text = _context(source, context, context_file)
    with QAClient(
        url,
        model=model,
        version=version,
        timeout=timeout,
        tokenizer=tokenizer,
        metadata_url=metadata_url,
        tls=TLS(ca=ca, certificate=certificate, key=key),
    ) as client:
        answers = client.answers(question, text, top_k=top_k)
    if json:
        print_json([asdict(answer) for answer in answers])
        return
    for answer in answers:
        stdout.print(
            f"[bold]{answer.score:.3f}[/]  version {answer.model_version}, "
            f"characters {answer.start}-{answer.end}"
        )
        stdout.print(highlighted(answer, text))


def _context(source: str | None, context: str | None, context_file: Path | None) -> str:
    if source not in (None, STANDARD_INPUT):
        raise CommandError(
            f"There is one argument too many: {source!r}. Give the context as "
            "--context TEXT, --context-file FILE, or '-' for standard input.",
            status=Status.USAGE,
        )
    given = [value is not None for value in (source, context, context_file)]
    if sum(given) != 1:
        raise CommandError(
            "Give the context exactly once: --context TEXT, --context-file FILE, "
            "or '-' for standard input.",
            status=Status.USAGE,
        )
    if context is not None:
        return context
    if source == STANDARD_INPUT or str(context_file) == STANDARD_INPUT:
        return _decoded(sys.stdin.buffer.read(), "standard input")
    assert context_file is not None
    try:
        return _decoded(context_file.read_bytes(), str(context_file))
    except OSError as error:
        raise CommandError(
            f"The context file {context_file} cannot be read: {error.strerror}.",
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
