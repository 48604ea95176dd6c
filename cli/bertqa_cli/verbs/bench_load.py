"""`bert-qa bench load`: how many questions a server answers, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bertqa.artifact import cpu_title
from bertqa.errors import BertQAError
from bertqa_cli.benched import OwnRepository, asked_server
from bertqa_cli.connection import DEFAULT_URL, DefaultConnectionOptions
from bertqa_cli.console import print_json, print_table, print_warning, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.grouping import grouped_options
from bertqa_cli.hardware import machine_facts, say_what_int8_saves
from bertqa_cli.options import Json, Version
from bertqa_cli.progress import stages as showing
from bertqa_cli.progress import working
from bertqa_cli.values import Decimal, Whole, output_file, refuse_typed, seconds_of, write_output

if TYPE_CHECKING:
    from bertqa._progress import OnProgress
    from bertqa.load import LoadComparison, LoadTest, RateFound, Stage, System, Target

_AT_ONCE = 16
_HTTP_API = "http://localhost:8080"
_ROUNDS = 5
_SECONDS, _SECONDS_OF_SEARCH = 30.0, 10.0
_RECORDED = "for questions whose times are not those of --from-log."


@grouped_options
def bench_load(
    data: Annotated[str | None, data_option("Questions")] = None,
    repository: OwnRepository = None,
    version: Version = None,
    http_api: Annotated[
        bool, typer.Option("--http-api", help="The address is that of an HTTP API.")
    ] = False,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            click_type=Decimal(min=0.01, max=100_000),
            metavar="N",
            help="Questions per second at random times, whatever the server does; repeatable.",
        ),
    ] = None,
    at_once: Annotated[
        list[int] | None,
        typer.Option(
            click_type=Whole(min=1, max=4096),
            metavar="N",
            help="Questions on their way at once, each followed by the next; repeatable; 16 if "
            "neither is named.",
        ),
    ] = None,
    from_log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Requests that were recorded, asked again at their times; those of which only "
            "hashes were have questions of --data in their place.",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            click_type=Decimal(min=0.001, max=1000),
            metavar="N",
            help="How many times as fast as recorded they come with --from-log; 1 if left out.",
            show_default=False,
        ),
    ] = None,
    find_rate: Annotated[
        bool,
        typer.Option(
            "--find-rate", help="Find the highest rate at which --p99 holds, by bisection."
        ),
    ] = False,
    p99: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long 99 % of the questions may take with --find-rate; 100ms if left out.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|URL",
            help="Another version or server, asked in turn with the first.",
            show_default=False,
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=2),
            metavar="N",
            help="How often each has its turn with --against; 5 if left out.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long each stage is; 30s if left out, with --find-rate 10s.",
            show_default=False,
        ),
    ] = None,
    warm_up: Annotated[
        float,
        typer.Option(
            parser=seconds_of,
            metavar="DURATION",
            help="How long it is not counted before; 3s if left out.",
            show_default=False,
        ),
    ] = 3.0,
    processes: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="Processes that ask; by default as many as it takes, up to the cores.",
            show_default=False,
        ),
    ] = None,
    questions: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1),
            metavar="N",
            help="Ask only so many of them, drawn at random; all if left out.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(click_type=Whole(min=0), metavar="N", help="What random draws begin with."),
    ] = 0,
    html: Annotated[
        Path | None, typer.Option(callback=output_file, help="Write a page with the curves here.")
    ] = None,
    *,
    connection: DefaultConnectionOptions,
    json: Json = False,
) -> None:
    """Measure how many questions a server answers in a second, and how long they take.

    With --rate, questions come at the times of a Poisson process, and a latency counts from when a
    question was to be asked: a server that falls behind cannot hide its queue. With --at-once, each
    answer is followed by the next question. With --from-log, those of a log come when they came.
    """
    _check(find_rate, p99, against, rounds, rate, at_once, duration)
    if from_log is not None:
        refuse_typed({"rate", "at_once", "find_rate", "p99", "duration", "questions"}, _RECORDED)
    elif speed is not None or data is None:
        problem = "Name questions with --data." if data is None else "--speed is for --from-log."
        raise CommandError(problem, status=Status.USAGE)
    asked = () if data is None else read_dataset(data)
    pairs = [(each.question, each.context) for each in asked]
    if questions is not None:
        pairs = Random(seed).sample(pairs, min(questions, len(pairs)))
    if duration is None:
        duration = _SECONDS_OF_SEARCH if find_rate else _SECONDS

    say_what_int8_saves()
    from bertqa.load import (
        LoadTest,
        Objective,
        Shape,
        Target,
        compare_systems,
        recorded_traffic,
    )

    shapes = [Shape(rate=each) for each in rate or ()]
    shapes += [Shape(at_once=each) for each in at_once or ()]
    if from_log is not None:
        with working(f"Reading {from_log}"):
            pairs, arrivals = recorded_traffic(from_log, pairs, speed or 1.0)
        shapes = [Shape(arrivals=arrivals)]
    shapes = shapes or [Shape(at_once=_AT_ONCE)]
    test = LoadTest(pairs, duration, warm_up, processes, seed)
    about: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "from_log": None if from_log is None else str(from_log),
        "questions": len(pairs),
        **machine_facts(),
    }
    comparisons: list[LoadComparison] = []
    found: list[Stage] = []
    highest: RateFound | None = None
    with ExitStack() as opened:
        show = opened.enter_context(showing())
        other = int(against) if against is not None and against.isdecimal() else version
        arguments, about["target"] = opened.enter_context(
            asked_server(connection, repository, [version, other], show)
        )
        if http_api:
            about["target"] = _http_address(connection.address)
            arguments = {**arguments, "url": about["target"]}
        target = Target(arguments, version, http_api)
        system = opened.enter_context(_opened(target, test, show))
        about["version"] = system.version
        if against is not None:
            second = opened.enter_context(_opened(_other(target, against), test, show))
            comparisons = [
                compare_systems(system, second, shape, rounds or _ROUNDS) for shape in shapes
            ]
            found = [each for one in comparisons for both in one.rounds for each in both]
        elif find_rate:
            objective = Objective(milliseconds=1000 * (0.1 if p99 is None else p99))
            highest = system.find_rate(objective)
            found = list(highest.stages)
        else:
            found = [system.stage(shape) for shape in shapes]
    if html is not None:
        write_output(html, _page(about, found))
    if json:
        print_json(
            {
                **about,
                "stages": [] if comparisons else [each.to_dict() for each in found],
                "comparisons": [each.to_dict() for each in comparisons],
                "found": None if highest is None else highest.to_dict(),
            }
        )
    else:
        _print(about, found, comparisons)
        if highest is not None:
            stdout.print(f"[bold]{escape(str(highest))}[/]")
    if not any(each.answered for each in found):
        raise typer.Exit(Status.FAILED)


def _check(
    find_rate: bool,
    p99: float | None,
    against: str | None,
    rounds: int | None,
    rate: list[float] | None,
    at_once: list[int] | None,
    duration: float | None,
) -> None:
    """Refuse options that contradict each other."""
    problem = None
    if find_rate and (rate or at_once or against is not None):
        problem = "--find-rate chooses the rates itself: leave out --rate, --at-once and --against."
    elif p99 is not None and not find_rate:
        problem = "--p99 is for --find-rate."
    elif rounds is not None and against is None:
        problem = "--rounds is for --against."
    elif p99 is not None and not p99:
        problem = "--p99 has to be above 0."
    elif duration == 0:
        problem = "--duration has to be above 0."
    if problem is not None:
        raise CommandError(problem, status=Status.USAGE)


def _http_address(given: str) -> str:
    """Return the address of the HTTP API: its own default, and http:// where no scheme is named."""
    if given == DEFAULT_URL:
        return _HTTP_API
    return given if "://" in given else f"http://{given}"


@contextmanager
def _opened(target: Target, test: LoadTest, show: OnProgress) -> Iterator[System]:
    """Open a system; where it does not answer as a server does, say that it may be an HTTP API."""
    from bertqa.load import System

    with ExitStack() as stack:
        try:
            system = stack.enter_context(System.opened(target, test, show))
        except BertQAError as error:
            if target.is_http_api or not target.address.startswith(("http://", "https://")):
                raise
            raise CommandError(f"{error} If it is an HTTP API, add --http-api.") from error
        yield system


def _other(target: Target, against: str) -> Target:
    """Return what is asked in turn with a target: another version there, or another server."""
    if against.isdecimal():
        return replace(target, version=int(against))
    arguments = {**target.arguments, "url": against, "metadata_url": None}
    return replace(target, arguments=arguments)


def _print(about: dict[str, Any], found: list[Stage], comparisons: list[LoadComparison]) -> None:
    stdout.print(
        f"[bold]{escape(_asked(about))}[/]: {about['questions']} questions of "
        f"{escape(_source(about))}; {escape(cpu_title(about['cores']))}"
    )
    for comparison in comparisons:
        names = [escape(each) for each in comparison.names]
        first = [one for one, _ in comparison.rounds]
        second = [other for _, other in comparison.rounds]
        for name, stages in zip(names, (first, second), strict=True):
            print_table(_table(stages, title=name))
        ratio = comparison.ratio
        what = (
            "as many questions per second as"
            if comparison.figure != "p99"
            else "the 99th percentile of latency of"
        )
        stdout.print(
            f"[bold]{names[1]} has {ratio.estimate:.2f} times {what} {names[0]}[/] (95 % interval "
            f"{ratio.low:.2f} to {ratio.high:.2f}, {len(comparison.rounds)} rounds in turn"
            f"{'; no difference beyond chance' if ratio.low <= 1 <= ratio.high else ''})"
        )
    if not comparisons:
        print_table(_table(found))
    _warn(found)


def _warn(found: list[Stage]) -> None:
    for each in found:
        if each.is_limited_by_client:
            print_warning(
                f"at {each.shape} the {each.processes} processes that ask were the limit ("
                f"{each.client_share:.0%} of a core, late by {each.late_p99_ms:.1f} ms): ask from "
                "another machine, or with more --processes"
            )
        for kind, count in each.errors.items():
            print_warning(f"at {each.shape} {count} questions were not answered: {kind}")
    if late := [each for each in found if each.is_late and not each.is_limited_by_client]:
        shapes = dict.fromkeys(str(each.shape) for each in late)
        print_warning(
            f"at {', '.join(shapes)} questions were asked up to "
            f"{max(each.late_p99_ms for each in late):.1f} ms late: the processors of this machine "
            "are busy, with the server or something else"
        )


def _table(found: list[Stage], title: str | None = None) -> Table:
    columns = ("load", "answers/s", "p50 ms", "p95", "p99", "p99.9", "errors", "cores")
    table = Table(*columns, title=title)
    for each in found:
        server = "" if each.server_cores is None else f"{each.server_cores:.2f}"
        table.add_row(
            str(each.shape),
            f"{each.questions_per_second:.1f}",
            *(_milliseconds(each, percent) for percent in (50, 95, 99, 99.9)),
            str(sum(each.errors.values())),
            server,
        )
    return table


def _milliseconds(stage: Stage, percent: float) -> str:
    found = stage.quantile_ms(percent)
    if found is None:
        return ""
    return f"{found:.0f}" if found >= 100 else f"{found:.1f}"


def _asked(about: dict[str, Any]) -> str:
    number = "" if about["version"] is None else f", version {about['version']}"
    return f"{about['target']}{number}"


def _source(about: dict[str, Any]) -> str:
    return " and ".join(filter(None, (about["from_log"], about["data"])))


def _page(about: dict[str, Any], found: list[Stage]) -> str:
    from bertqa.load import load_page

    made = str(about["made"]).replace("T", " ").replace("+00:00", " UTC")
    return load_page(
        f"load on {_asked(about)}",
        [
            f"{about['questions']} questions of {_source(about)}, {made}",
            cpu_title(about["cores"]),
        ],
        found,
    )
