"""`bert-qa bench client`: where the time of a question goes."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from bertqa._words import counted
from bertqa.artifact import Repository, cpu_title, usable_cores
from bertqa.evaluation import time_loop, time_questions, time_stream
from bertqa.runtime import load
from bertqa_cli.connection import DefaultConnectionOptions
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.grouping import grouped_options
from bertqa_cli.hardware import machine_facts, say_what_int8_saves
from bertqa_cli.options import Json, Version
from bertqa_cli.progress import stages
from bertqa_cli.values import Whole

# Median own time of a question and delay in milliseconds, share of the engine's throughput.
_OWN_BELOW: Final = 0.4
_SHARE_FROM: Final = 0.95
_DELAY_BELOW: Final = 5.0
_OTHER: Final = ("questions", "windows", "characters", "seconds")


@grouped_options
def bench_client(
    data: Annotated[str, data_option("Questions")],
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
    """Time a question's steps, a stream of questions, and a context of 10 MB in an event loop.

    Figures with targets: the client's own time of a question, where several questions in a row
    have one context and where each has a new one; the share of the engine's throughput that a
    stream reaches (with --alone); and how long a context of 10 MB delays other tasks of an event
    loop, with random logits in place of the model, and with what was in memory before left out of
    garbage collection.
    """
    pairs = [(each.question, each.context) for each in islice(read_dataset(data), questions)]
    say_what_int8_saves()
    engine = None
    if alone is not None:
        published = Repository(alone)
        chosen = published.latest_version(connection.model) if version is None else version
        engine = load(published.require_version(chosen, connection.model))
    with contextlib.closing(connection.open_transport()) as transport, stages() as show:
        single = time_questions(transport, pairs, version=version, on_progress=show)
        stream = time_stream(transport, pairs, alone=engine, version=version, on_progress=show)
        contexts = list(dict.fromkeys(context for _, context in pairs))
        loop = time_loop(transport, contexts, version=version, on_progress=show)
    targets = [
        _target("own_ms", single.own, below=_OWN_BELOW),
        _target("own_on_new_ms", single.own_on_new, below=_OWN_BELOW),
        _target("share_of_engine", stream.share, at_least=_SHARE_FROM),
        _target("loop_delay_ms", loop.own, below=_DELAY_BELOW),
    ]
    if json:
        throughput = asdict(stream)
        throughput["engine_windows_per_second"] = throughput.pop("alone")
        print_json(
            {
                **machine_facts(),
                "single": _in_ms(asdict(single)),
                "stream": {**throughput, "share_of_engine": stream.share},
                "loop": _in_ms(asdict(loop)),
                "targets": targets,
            }
        )
        return
    stdout.print(escape(cpu_title(usable_cores())))
    steps = Table("step", "milliseconds", title=f"One question at a time, {single.questions} asked")
    for name in ("tokenizing", "collating", "transport", "decoding"):
        steps.add_row(name, f"{getattr(single, name):.3f}")
    print_table(steps)
    stdout.print(
        f"The client alone: {single.own:.3f} ms for a question in the order of the file, "
        f"{single.own_on_new:.3f} ms on a context that it does not keep"
    )
    stdout.print(
        f"answer_many: {stream.windows_per_second:.1f} windows/s in "
        f"{counted(stream.batches, 'batch', 'batches')}, "
        f"{stream.padding:.1%} padding"
    )
    if stream.alone is not None:
        stdout.print(
            f"The engine alone: {stream.alone:.1f} windows/s on the same batches; answer_many "
            f"reaches {stream.share:.0%} of it"
        )
    stdout.print(
        f"A context of {loop.characters:,} characters: {loop.windows:,} windows in "
        f"{loop.seconds:.1f} s with random logits in place of the model; another task was late by "
        f"{loop.longest:.1f} ms at most, of which the client computed {loop.own:.1f} ms or less, "
        f"and by {loop.p99:.1f} ms in 1% of the cases (idle: {loop.idle:.1f} ms); what was in "
        "memory before was left out of garbage collection"
    )
    table = Table("figure", "measured", "target", "met")
    for target in targets:
        table.add_row(*_row(target))
    print_table(table)


def _in_ms(times: dict[str, Any]) -> dict[str, Any]:
    """Return times by keys that say their unit; `_OTHER` are not in milliseconds."""
    return {key if key in _OTHER else f"{key}_ms": value for key, value in times.items()}


def _target(
    name: str, value: float | None, *, below: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    """Return a figure with its target, and whether it is met; None where it was not measured."""
    met = None
    if value is not None:
        met = value < below if below is not None else at_least is not None and value >= at_least
    return {"figure": name, "value": value, "below": below, "at_least": at_least, "met": met}


_TITLES = {
    "own_ms": ("own time, contexts in file order", "{:.3f} ms"),
    "own_on_new_ms": ("own time, each context new", "{:.3f} ms"),
    "share_of_engine": ("share of the engine", "{:.0%}"),
    "loop_delay_ms": ("taken from other tasks at once", "{:.1f} ms"),
}


def _row(target: dict[str, Any]) -> tuple[str, str, str, str]:
    title, unit = _TITLES[target["figure"]]
    measured = "pass --alone"
    if target["value"] is not None:
        measured = unit.format(target["value"])
    is_limit = target["below"] is not None
    wanted = unit.format(target["below"] if is_limit else target["at_least"])
    words = {True: "yes", False: "no", None: ""}
    return title, measured, f"{'below' if is_limit else 'at least'} {wanted}", words[target["met"]]
