"""`bert-qa bench profile`: where the time of a served question goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from bertqa.artifact import Repository as ModelRepository
from bertqa.artifact import cpu_title
from bertqa.runtime import find_model
from bertqa.transport import AdminClient, rest_address
from bertqa_cli.connection import ConnectionOptions
from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.grouping import grouped_options
from bertqa_cli.hardware import machine_facts, say_what_int8_saves
from bertqa_cli.options import DEFAULT_REPOSITORY, Json, Repository, require_repository
from bertqa_cli.progress import stages
from bertqa_cli.values import Whole, output_file, write_output

if TYPE_CHECKING:
    from bertqa._progress import OnProgress
    from bertqa.evaluation import Samples
    from bertqa.profile import Alone, Asked, Operations, Profile

_OVERHEAD_BELOW = 2.0
_SMALL = 0.001


@dataclass(frozen=True, slots=True)
class _Measured:
    """All that was measured, and on what."""

    about: dict[str, Any]
    asked: Asked
    operations: Operations
    profile: Profile
    alone: Alone


@grouped_options
def bench_profile(
    data: Annotated[str, data_option("Questions")],
    repository: Repository = DEFAULT_REPOSITORY,
    version: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1), metavar="N", help="The version; the newest if left out."
        ),
    ] = None,
    questions: Annotated[
        int, typer.Option(click_type=Whole(min=1), metavar="N", help="Ask this many at most.")
    ] = 200,
    at_once: Annotated[
        int,
        typer.Option(
            click_type=Whole(min=1, max=4096),
            metavar="N",
            help="Questions on their way at once, each followed by the next.",
        ),
    ] = 4,
    html: Annotated[
        Path | None,
        typer.Option(callback=output_file, help="Write a page with a flame graph here."),
    ] = None,
    *,
    connection: ConnectionOptions,
    json: Json = False,
) -> None:
    """Find where the time of a served question goes.

    By phases, and within the inference by operations of the compiled graph; then of one question
    alone on an idle server, against OpenVINO in this process. The server is the local engine on
    the version of the repository, or with --url one that has the same version.
    """
    published = ModelRepository(repository)
    require_repository(published)
    model = connection.model
    number = published.latest_version(model) if version is None else version
    file = find_model(published.require_version(number, model))
    pairs = [(each.question, each.context) for each in islice(read_dataset(data), questions)]
    say_what_int8_saves()
    with stages() as show, _server(published, number, connection, show) as server:
        about = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "server": server.address if connection.url else "the local engine",
            "model": model,
            "version": number,
            "data": data,
            **machine_facts(),
        }
        measured = _measure(server, published, file, number, pairs, at_once, about, show)
    if html is not None:
        write_output(html, _page(measured))
    if json:
        print_json(_document(measured))
    else:
        _print(measured)


@contextmanager
def _server(
    published: ModelRepository, version: int, connection: ConnectionOptions, show: OnProgress
) -> Iterator[ConnectionOptions]:
    """Yield the connection to the server that is asked, which is started where none is named."""
    if connection.url:
        yield connection
        return
    from bertqa_serve.command import EngineKind
    from bertqa_serve.laboratory import properties_of, server_beside

    connection.refuse("for a server: name it with --url.")
    with server_beside(
        published.root,
        EngineKind.LOCAL,
        [version],
        connection.model,
        properties=properties_of(published, connection.model),
        on_progress=show,
        own=("--metrics_enable",),
    ) as running:
        yield replace(connection, url=running.grpc_url, metadata_url=running.rest_url)


def _measure(
    server: ConnectionOptions,
    published: ModelRepository,
    file: Path,
    version: int,
    pairs: list[tuple[str, str]],
    at_once: int,
    about: dict[str, Any],
    show: OnProgress,
) -> _Measured:
    from bertqa.profile import Operations, ask, profile, server_times, text_of, time_alone
    from bertqa_serve.laboratory import properties_of

    properties = properties_of(published, server.model)
    address = rest_address(server.address, server.metadata_url)
    before = []
    with AdminClient(address, server.security(), timeout=server.timeout) as admin:
        asked = ask(
            server.open_async_transport,
            pairs,
            version=version,
            at_once=at_once,
            timeout=server.timeout,
            on_progress=show,
            on_begin=lambda: before.append(server_times(admin, server.model, version)),
        )
        after = server_times(admin, server.model, version)
    of_server = after.since(before[0]) if after and before[0] else None
    transport = server.open_transport()
    try:
        alone = time_alone(
            transport,
            text_of(pairs),
            file,
            properties,
            version=version,
            timeout=server.timeout,
            on_progress=show,
        )
    finally:
        transport.close()
    operations = Operations.measured(file, asked.batches, properties, show)
    return _Measured(
        {
            **about,
            "at_once": at_once,
            "plugin_config": properties,
            "precision": operations.precision,
        },
        asked,
        operations,
        profile(asked, operations, of_server),
        alone,
    )


def _document(measured: _Measured) -> dict[str, Any]:
    asked, alone = measured.asked, measured.alone
    return {
        **measured.about,
        "questions": asked.questions,
        "windows": asked.windows,
        "requests": len(asked.batches),
        "padding": asked.padding,
        "questions_per_second": asked.questions_per_second,
        "client_cpu_ms": asked.client_cpu_ms,
        "has_server_times": measured.profile.has_server_times,
        "question": measured.profile.question.to_dict(),
        "operations": [asdict(each) for each in measured.operations.times],
        "alone": {
            "words": alone.words,
            "windows": alone.windows,
            "turns": len(alone.served.values),
            "served_ms": _quantiles_ms(alone.served),
            "in_process_ms": _quantiles_ms(alone.in_process),
            "overhead_ms": {"p50": alone.overhead_ms(0.5), "p99": alone.overhead_ms(0.99)},
            "overhead_range_ms": list(alone.overhead_range_ms),
            "was_busy": alone.was_busy,
            "below_ms": _OVERHEAD_BELOW,
            "met": alone.overhead_ms(0.5) < _OVERHEAD_BELOW,
        },
    }


def _quantiles_ms(samples: Samples) -> dict[str, float]:
    return {"p50": 1000 * samples.quantile(0.5), "p99": 1000 * samples.quantile(0.99)}


def _print(measured: _Measured) -> None:
    stdout.print(f"[bold]{escape(_title(measured))}[/]")
    for sentence in _sentences(measured):
        stdout.print(escape(sentence))
    whole = measured.profile.question
    table = Table("of a question", "ms", "share")
    for depth, span in whole.walk():
        if depth <= 2:
            share = f"{span.milliseconds / whole.milliseconds:.1%}"
            table.add_row(f"{'  ' * depth}{span.name}", f"{span.milliseconds:.3f}", share)
    print_table(table)
    print_table(_table_of(measured.operations))


def _table_of(operations: Operations) -> Table:
    from bertqa.profile import BETWEEN

    table = Table("operation", "kernel", "precision", "runs", "ms in all", "of infer")
    whole = operations.whole_ms or 1.0
    small = [each.real_ms for each in operations.times if each.real_ms < whole * _SMALL]

    def add(kind: str, kernel: str, precision: str, runs: str, taken: float) -> None:
        table.add_row(kind, kernel, precision, runs, f"{taken:.1f}", f"{taken / whole:.1%}")

    for each in operations.times:
        if each.real_ms >= whole * _SMALL:
            add(each.kind, each.kernel, each.precision, str(each.runs), each.real_ms)
    if small:
        add("other", "", "", "", sum(small))
    add(BETWEEN, "", "", "", operations.between_ms)
    return table


def _title(measured: _Measured) -> str:
    about = measured.about
    return f"version {about['version']} of {about['model']}, {about['server']}"


def _sentences(measured: _Measured) -> list[str]:
    about, asked, alone = measured.about, measured.asked, measured.alone
    least, most = alone.overhead_range_ms
    machine_is = (
        f"{cpu_title(about['cores'])}; what is not quantised computes in {about['precision']}"
    )
    questions = (
        f"{asked.questions} questions of {about['data']}, {about['at_once']} at once: "
        f"{asked.questions_per_second:.1f} questions/s in {len(asked.batches)} requests of "
        f"{asked.windows} windows, {asked.padding:.1%} padding; the client's process computes "
        f"{asked.client_cpu_ms:.2f} ms for a question"
    )
    one = (
        f"One question alone, {alone.words} words: served {_quantiles(alone.served)}; OpenVINO in "
        f"this process {_quantiles(alone.in_process)}; the medians differ by "
        f"{alone.overhead_ms(0.5):.2f} ms, by {least:.2f} to {most:.2f} ms in fifths of the "
        f"turns (target: below {_OVERHEAD_BELOW:g} ms)"
    )
    said = [machine_is, questions, one]
    if alone.was_busy:
        said.append(
            "The machine was busy: the median in this process itself varies by more than 20 % "
            "from one fifth of the turns to another. Measure again while nothing else runs"
        )
    if not measured.profile.has_server_times:
        said.append(
            "The server shows no metrics: the inference is that of the same requests in this "
            "process, and waiting for a stream counts as wire"
        )
    return said


def _quantiles(samples: Samples) -> str:
    return ", ".join(f"{name} {each:.2f} ms" for name, each in _quantiles_ms(samples).items())


def _page(measured: _Measured) -> str:
    from bertqa.profile import profile_page

    return profile_page(
        _title(measured),
        _sentences(measured),
        measured.profile.question,
        measured.operations,
    )
