"""Figures of what quantisation changed in a model, for a page, a notebook, or files.

Each function returns the text of an SVG; a `standalone` one is a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bertqa_build.inspection import Inspection, Product, Speed
from bertqa_build.plots import QUIET, Bar, Colour, Group, bar_chart, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bertqa_build.sensitivity import Sensitivity

_LAYER = re.compile(r".*\blayer\.(\d+)\.(?:attention\.self\b\W*)?")
_OTHER = "outside the layers"
_HEADING_ROWS = 2
_SMALL = 7.5


def title(inspection: Inspection) -> str:
    """Return what to call a version: its number and its precision."""
    return f"{inspection.version} ({inspection.manifest.precision})"


def scores(before: Inspection, after: Inspection, *, standalone: bool = False) -> str:
    """Draw F1 and exact match, in percent, of the versions that have scores.

    Args:
        before: A version.
        after: The version to compare it with.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """
    groups = [
        Group(
            heading,
            [
                Bar(title(each), value, f"{value:.2f} %", colour)
                for each, colour in _pair(before, after)
                if each.manifest.scores
                for value in [getattr(each.manifest.scores, key)]
            ],
        )
        for key, heading in (("f1", "F1"), ("exact_match", "Exact match"))
    ]
    return bar_chart(groups, standalone=standalone)


def sizes(before: Inspection, after: Inspection, *, standalone: bool = False) -> str:
    """Draw the sizes of two versions' files, in MB.

    Args:
        before: A version.
        after: The version to compare it with.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """
    bars = [
        Bar(f"{title(each)}, {file}", size / 1e6, f"{size / 1e6:.1f} MB", colour)
        for each, colour in _pair(before, after)
        for file, size in each.sizes.items()
    ]
    return bar_chart([Group("Files in MB", bars)], standalone=standalone)


def speeds(
    before: Inspection,
    after: Inspection,
    measured: Mapping[int, Sequence[Speed]],
    *,
    standalone: bool = False,
) -> str:
    """Draw windows per second.

    Args:
        before: A version.
        after: The version to compare it with.
        measured: The speeds by version, for the same shapes in the same order.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """
    groups = []
    for first, second in zip(measured[before.version], measured[after.version], strict=True):
        bars = [
            Bar(
                title(each),
                speed.windows_per_second,
                f"{speed.windows_per_second:.1f} (spread {speed.spread:.0%})",
                colour,
            )
            for (each, colour), speed in zip(_pair(before, after), (first, second), strict=True)
        ]
        shape = f"{first.tokens} tokens, batch {first.batch}"
        groups.append(Group(f"{shape}: windows per second", bars))
    return bar_chart(groups, standalone=standalone)


def products(inspection: Inspection, *, standalone: bool = False) -> str:
    """Draw each matrix product in the precision that it runs in: a row for each layer.

    Args:
        inspection: The version.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """
    places = [_place(product) for product in inspection.products]
    rows = list(dict.fromkeys(row for row, _ in places))
    columns = list(dict.fromkeys(column for _, column in places))

    def paint(axes: Sequence[Axes]) -> None:
        (grid,) = axes
        for product, (row, column) in zip(inspection.products, places, strict=True):
            x, y = columns.index(column), rows.index(row)
            colour = Colour.BEST if product.int8 else Colour.BASE
            grid.barh(y, 0.97, 0.86, left=x - 0.485, color=colour)
            grid.text(x, y, product.runs_in, color="white", ha="center", va="center")
        headings = ["\n".join(_two_lines(column)) for column in columns]
        grid.set_xticks(range(len(columns)), headings, fontsize=_SMALL)
        grid.set_yticks(range(len(rows)), rows)
        grid.xaxis.tick_top()
        grid.invert_yaxis()
        grid.margins(0, 0.01)
        grid.set_title(f"Version {title(inspection)}")

    return draw(paint, [len(rows) + _HEADING_ROWS], standalone=standalone)


def ranges(inspection: Inspection, *, standalone: bool = False) -> str:
    """Draw the range that each activation quantiser covers, on one axis.

    Args:
        inspection: The version.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """
    low = [each.low for each in inspection.ranges]
    width = [each.high - each.low for each in inspection.ranges]

    def paint(axes: Sequence[Axes]) -> None:
        (axis,) = axes
        places = range(len(inspection.ranges))
        bars = axis.barh(places, width, 0.5, left=low, color=Colour.MIDDLE)
        notes = [f"{each.low:.3g} to {each.high:.3g}" for each in inspection.ranges]
        axis.bar_label(bars, notes, padding=5, color=QUIET, fontsize=_SMALL)
        axis.set_yticks(places, [each.name for each in inspection.ranges], fontsize=_SMALL)
        axis.set_xticks([])
        axis.axvline(0, color=Colour.BASE, linestyle=":", linewidth=1)
        axis.invert_yaxis()
        axis.margins(x=0.2, y=0.005)

    return draw(paint, [len(inspection.ranges)], standalone=standalone)


def sensitivity(found: Sensitivity, *, standalone: bool = False) -> str:
    """Draw what each quantised layer costs: F1, and its share of the error of the logits.

    Args:
        found: What was measured.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """
    layers = found.layers
    f1 = [
        Bar(
            each.name,
            each.f1.estimate,
            f"{each.f1.estimate:+.2f} ({each.f1.low:+.2f} to {each.f1.high:+.2f})",
            Colour.BEST if each.f1.low > 0 else Colour.BASE,
        )
        for each in layers
    ]
    errors = [Bar(each.name, each.error, f"{each.error:.0%}") for each in layers]
    return bar_chart(
        [
            Group("Points of F1 that come back with the layer in floating point", f1),
            Group("Share of the logits' error that goes", errors),
        ],
        standalone=standalone,
    )


def _pair(before: Inspection, after: Inspection) -> tuple[tuple[Inspection, Colour], ...]:
    return (before, Colour.BASE), (after, Colour.BEST)


def _place(product: Product) -> tuple[str, str]:
    match = _LAYER.match(product.name)
    if match is None:
        return _OTHER, product.name
    return f"layer {match[1]}", product.name[match.end() :].rstrip(")")


def _two_lines(text: str) -> list[str]:
    """Break a name at its last dot or space before its middle."""
    place = max(text.rfind(mark, 0, len(text) // 2 + 4) for mark in ". ")
    return [text] if place < 0 else [text[: place + 1].rstrip(), text[place + 1 :]]
