"""`bert-qa bench client`: where the time of a question goes."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bertqa.artifact import Repository
from bertqa.evaluation import time_questions, time_stream
from bertqa.runtime import load
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.datasets import read_dataset
from bertqa_cli.options import DefaultConnectionOptions, Json, Version, grouped_options
from bertqa_cli.progress import stages
from bertqa_cli.values import Whole


@grouped_options
def bench_client(
    data: Annotated[
        Path,
        typer.Option(exists=True, dir_okay=False, help="Questions: a SQuAD 1.1 or 2.0 JSON file."),
    ],
    version: Version = None,
    questions: Annotated[
        int, typer.Option(click_type=Whole(min=1), metavar="N", help="Ask this many at most.")
    ] = 500,
    alone: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="REPOSITORY",
            help="Run the same batches in this process too, with --version from this repository.",
        ),
    ] = None,
    *,
    connection: DefaultConnectionOptions,
    json: Json = False,
) -> None:
    """Time a question's steps one by one, and what a stream of questions reaches."""
    pairs = [(each.question, each.context) for each in islice(read_dataset(data), questions)]
    engine = None
    if alone is not None:
        published = Repository(alone)
        chosen = published.latest_version(connection.model) if version is None else version
        engine = load(published.require_version(chosen, connection.model))
    with contextlib.closing(connection.open_transport()) as transport, stages() as show:
        single = time_questions(transport, pairs, version=version, on_progress=show)
        stream = time_stream(transport, pairs, alone=engine, version=version, on_progress=show)
    if json:
        print_json({"single": asdict(single), "stream": asdict(stream)})
        return
    steps = Table("step", "milliseconds", title=f"One question at a time, {single.questions} asked")
    for name in ("tokenizing", "collating", "transport", "decoding"):
        steps.add_row(name, f"{getattr(single, name):.3f}")
    print_table(steps)
    stdout.print(
        f"answer_many: {stream.windows_per_second:.1f} windows/s in {stream.batches} batches, "
        f"{stream.padding:.1%} padding"
    )
    if stream.alone is not None:
        stdout.print(
            f"The engine alone: {stream.alone:.1f} windows/s on the same batches; answer_many "
            f"reaches {stream.windows_per_second / stream.alone:.0%} of it"
        )
