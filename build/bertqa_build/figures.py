"""The figures of what quantisation did to a model, for a page, a notebook, or files of their own.

Each gives SVG; a `standalone` one brings its style, as `bertqa_build.svg` has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bertqa_build.inspection import Inspection, Product, Speed
from bertqa_build.svg import Bar, Cell, Grid, Group, Range, bar_chart, grid_chart, range_chart

_LAYER = re.compile(r".*\blayer\.(\d+)\.(?:attention\.self\b\W*)?")
_OTHER = "outside the layers"


def title(inspection: Inspection) -> str:
    """What to call a version: its number and its precision."""
    return f"{inspection.version} ({inspection.manifest.precision})"


def scores(before: Inspection, after: Inspection, *, standalone: bool = False) -> str:
    """Draw F1 and exact match, in percent, of two versions that have them."""
    groups = [
        Group(
            heading,
            [
                Bar(title(each), value, f"{value:.2f} %", kind)
                for each, kind in ((before, "base"), (after, "best"))
                if each.manifest.scores
                for value in [getattr(each.manifest.scores, key)]
            ],
        )
        for key, heading in (("f1", "F1"), ("exact_match", "Exact match"))
    ]
    return bar_chart(groups, standalone=standalone)


def sizes(before: Inspection, after: Inspection, *, standalone: bool = False) -> str:
    """Draw the sizes of two versions' files."""
    bars = [
        Bar(f"{title(each)}, {file}", size / 1e6, f"{size / 1e6:.1f} MB", kind)
        for each, kind in ((before, "base"), (after, "best"))
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
    """Draw windows per second; `measured` is by version, for the same shapes in the same order."""
    groups = []
    for first, second in zip(measured[before.version], measured[after.version], strict=True):
        bars = [
            Bar(
                title(each),
                speed.windows_per_second,
                f"{speed.windows_per_second:.1f} (spread {speed.spread:.0%})",
                kind,
            )
            for each, speed, kind in ((before, first, "base"), (after, second, "best"))
        ]
        shape = f"{first.tokens} tokens, batch {first.batch}"
        groups.append(Group(f"{shape}: windows per second", bars))
    return bar_chart(groups, standalone=standalone)


def products(inspection: Inspection, *, standalone: bool = False) -> str:
    """Draw each matrix product in the precision that it runs in: a row for each layer."""
    rows: dict[str, dict[str, Cell]] = {}
    for product in inspection.products:
        layer, column = _place(product)
        kind = "best" if product.int8 else "base"
        rows.setdefault(layer, {})[column] = Cell(product.runs_in, kind)
    return grid_chart(Grid(f"Version {title(inspection)}", rows), standalone=standalone)


def ranges(inspection: Inspection, *, standalone: bool = False) -> str:
    """Draw what each activation quantiser covers."""
    covered = [Range(each.name, each.low, each.high) for each in inspection.ranges]
    return range_chart(covered, standalone=standalone)


def _place(product: Product) -> tuple[str, str]:
    match = _LAYER.match(product.name)
    if match is None:
        return _OTHER, product.name
    return f"layer {match[1]}", product.name[match.end() :].rstrip(")")
