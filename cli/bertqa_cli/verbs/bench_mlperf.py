"""`bert-qa bench mlperf`: a served model as MLCommons' LoadGen judges it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.markup import escape
from rich.table import Table

from bertqa.artifact import cpu_title, usable_cores
from bertqa_cli.benched import OwnRepository, asked_server
from bertqa_cli.connection import DefaultConnectionOptions
from bertqa_cli.console import print_json, print_step, print_table, print_warning, stdout
from bertqa_cli.datasets import data_option, read_dataset
from bertqa_cli.errors import Status
from bertqa_cli.grouping import grouped_options
from bertqa_cli.hardware import machine_facts, say_what_int8_saves
from bertqa_cli.options import Json, Version
from bertqa_cli.progress import ending_on_sigterm, stages, working
from bertqa_cli.values import Decimal, output_directory, timeout_seconds

# Of LoadGen's summary, what is shown; the rest is in its log.
_SHOWN = (
    "Result is",
    "Performance constraints satisfied",
    "Min duration satisfied",
    "Min queries satisfied",
    "Early stopping satisfied",
    "Scheduled samples per second",
    "Completed samples per second",
    "Samples per second",
    "50.00 percentile latency (ns)",
    "90.00 percentile latency (ns)",
    "99.00 percentile latency (ns)",
    "99.90 percentile latency (ns)",
)


@grouped_options
def bench_mlperf(
    data: Annotated[str, data_option("Questions")],
    repository: OwnRepository = None,
    version: Version = None,
    scenario: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(["SingleStream", "Offline", "Server"]),
            help="One question after the other, all at once, or at random times with a 99th "
            "percentile of 130 ms.",
        ),
    ] = "SingleStream",
    accuracy: Annotated[
        bool,
        typer.Option("--accuracy", help="Ask each question once, for F1 and exact match."),
    ] = False,
    rate: Annotated[
        float,
        typer.Option(
            click_type=Decimal(min=0.01),
            metavar="N",
            help="Questions per second in Server; in Offline what is expected.",
        ),
    ] = 10.0,
    duration: Annotated[
        float,
        typer.Option(
            parser=timeout_seconds,
            metavar="DURATION",
            help="How long it measures at least; 60s if left out.",
            show_default=False,
        ),
    ] = 60.0,
    log_dir: Annotated[
        Path, typer.Option(callback=output_directory, help="Where LoadGen writes its logs.")
    ] = Path("mlperf-logs"),
    *,
    connection: DefaultConnectionOptions,
    json: Json = False,
) -> None:
    """Have MLCommons' LoadGen ask a served model, with BERT's settings.

    LoadGen decides when to ask, takes the time and has the verdict; its logs are kept. Model,
    data and duration make it no official result of MLPerf, which the first line says.
    """
    # First, so that an error names its extra, which brings what bertqa.load needs too.
    import mlperf_loadgen  # noqa: F401

    from bertqa.load import MlperfPlan, Scenario, run_mlperf, unofficial

    dataset = read_dataset(data)
    plan = MlperfPlan(Scenario(scenario), accuracy, rate, duration, log_dir)
    remark = unofficial(dataset, plan, connection.model, version)
    print_step(remark)
    if plan.is_too_short:
        print_warning(
            f"in {duration:g} s at {rate:g}/s too few questions come for any verdict but INVALID: "
            f"early stopping asks for {plan.least_seconds} s at least (--duration)"
        )
    say_what_int8_saves()
    with ending_on_sigterm(), ExitStack() as opened:
        with stages() as show:
            arguments, target = opened.enter_context(
                asked_server(connection, repository, [version], show)
            )
        with working(f"LoadGen asks, {scenario}"):
            result = run_mlperf(arguments, dataset, plan, version)
    if json:
        print_json(
            {
                "remark": remark,
                "target": target,
                "model": connection.model,
                "version": result.version,
                **machine_facts(),
                "scenario": scenario,
                "mode": "accuracy" if accuracy else "performance",
                "is_valid": result.is_valid,
                "figures": dict(result.figures),
                "remarks": list(result.remarks),
                "errors": dict(result.errors),
                "f1": result.f1,
                "exact_match": result.exact_match,
                "logs": str(log_dir),
            }
        )
    else:
        number = "" if result.version is None else f", version {result.version}"
        stdout.print(
            f"[bold]{escape(target)}, {escape(connection.model)}{number}[/]: {len(dataset)} "
            f"questions of {escape(dataset.name)}; {escape(cpu_title(usable_cores()))}"
        )
        table = Table("LoadGen", "")
        for name in _SHOWN:
            if name in result.figures:
                table.add_row(*_readable(name, result.figures[name]))
        if result.f1 is not None and result.exact_match is not None:
            table.add_row("F1", f"{result.f1:.2f}")
            table.add_row("exact match", f"{result.exact_match:.2f}")
        print_table(table)
        for each in result.remarks:
            stdout.print(escape(each))
        stdout.print(f"Its logs: {escape(str(log_dir))}")
        for kind, count in result.errors.items():
            print_warning(f"{count} questions were not answered: {kind}")
    if not result.is_valid:
        raise typer.Exit(Status.FAILED)


def _readable(name: str, figure: str) -> tuple[str, str]:
    """Return a figure of LoadGen's summary as people read it: milliseconds, not nanoseconds."""
    if not name.endswith("(ns)"):
        return name, figure
    return name.replace("(ns)", "(ms)"), f"{int(figure) / 1e6:.1f}"
