"""A latency table, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from bertqa_cli.console import print_table, stdout

if TYPE_CHECKING:
    from bertqa_build.pruning.description import Description

_ROWS = 12
"""Sizes of a module that are shown; the file has all."""


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
        table = Table(f"{title} of a layer", "ms", "against all")
        sizes = list(times)
        step = max(1, -(-(len(sizes) - 1) // _ROWS))
        shown = sizes[::-step] if 0 in sizes[::-step] else [*sizes[::-step], 0]
        for size in shown:
            table.add_row(str(size), f"{times[size]:.3f}", f"{times[size] / times[sizes[-1]]:.0%}")
        print_table(table)
    stdout.print(
        f"The whole model takes {found.whole_ms:.1f} ms, {found.table.rest:.2f} of them outside "
        "its layers; the largest speed-up, without anything in the layers, is "
        f"{found.max_speedup:.1f}."
    )
    table = Table("every layer", "ms", "speed-up")
    for each in found.uniform:
        table.add_row(
            f"{each.heads} heads, {each.neurons} neurons",
            f"{each.ms:.1f}",
            f"{each.speedup:.2f}",
        )
    print_table(table)
    for asked in found.asked:
        end = "" if asked.can_be_reached else ", which cannot be reached"
        stdout.print(f"{asked.speedup:g}x is {asked.ms:.1f} ms{end}.")
