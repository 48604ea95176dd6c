"""One page on what quantisation changed in a model: self-contained, for a browser or a review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bertqa.evaluation import render_page
from bertqa_build import figures
from bertqa_build.inspection import Inspection, Speed, operation_changes
from bertqa_build.pruning import drawing
from bertqa_build.pruning.pareto import Point

_DIGITS = 16
"""How much of a sha256 is shown."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure that the page begins with: its name, its value, whether it is good, and a note."""

    name: str
    value: str
    good: bool
    note: str


def render(
    before: Inspection,
    after: Inspection,
    speeds: Mapping[int, Sequence[Speed]],
    machine: str,
    family: Sequence[Point] = (),
) -> str:
    """Return the page as HTML.

    Args:
        before: A version.
        after: The version that was made from it.
        speeds: The speeds by version, for the same shapes in the same order.
        machine: What the speeds were measured on, in a phrase.
        family: The versions that were pruned from one of them, or from the same one.
    """
    pruned = [each for each in family if each.heads and each.precision == "FP32"]
    return render_page(
        "inspection.html",
        "bertqa_build",
        before=before,
        after=after,
        titles=[figures.title(before), figures.title(after)],
        machine=machine,
        tiles=list(_tiles(before, after, speeds)),
        figures={
            "scores": figures.scores(before, after),
            "sizes": figures.sizes(before, after),
            "speeds": figures.speeds(before, after, speeds),
            "products": figures.products(after),
            "ranges": figures.ranges(after) if after.ranges else "",
            "curve": drawing.curve(family) if family else "",
            "layers": drawing.layers(pruned) if pruned else "",
        },
        tables={
            "quantizers": [
                (kind, count, after.quantizers[kind]) for kind, count in before.quantizers.items()
            ],
            "operations": [
                (kind, old, new, f"{new - old:+d}" if new != old else "")
                for kind, old, new in operation_changes(before, after)
            ],
            "reasons": list(_reasons(after)),
            "products": [(each.name, each.runs_in, each.reason) for each in after.products],
            "origin": list(_origin(before, after)),
            "family": list(_family(family)),
        },
    )


def _tiles(
    before: Inspection, after: Inspection, speeds: Mapping[int, Sequence[Speed]]
) -> Iterator[Tile]:
    if before.manifest.scores and after.manifest.scores:
        change = after.manifest.scores.f1 - before.manifest.scores.f1
        gate = after.manifest.gate
        allowed = (gate.max_f1_drop if gate else None) or 0.0
        yield Tile("F1", f"{change:+.2f}", change >= -allowed, "points")
    ratio = after.ir_size / before.ir_size
    yield Tile("Size on disk", f"{ratio:.0%}", ratio < 1, "of what it was")
    first, second = speeds[before.version][-1], speeds[after.version][-1]
    faster = first.seconds / second.seconds
    yield Tile("Speed", f"{faster:.2f}x", faster > 1, f"at {second.tokens} tokens")
    int8 = sum(product.int8 for product in after.products)
    yield Tile("In INT8", f"{int8} of {len(after.products)}", int8 > 0, "matrix products")


def _family(family: Sequence[Point]) -> Iterator[list[int | str]]:
    """Yield the headings of the table of pruned versions, and its rows."""
    if family:
        yield list(family[0].cells)
    for each in family:
        yield list(each.cells.values())


def _reasons(inspection: Inspection) -> Iterator[tuple[str, int]]:
    yield "in INT8", sum(product.int8 for product in inspection.products)
    reasons = Counter(product.reason for product in inspection.products if not product.int8)
    for reason, number in reasons.items():
        yield f"in floating point: {reason}", number


def _origin(before: Inspection, after: Inspection) -> Iterator[tuple[str, str, str]]:
    first, second = before.manifest, after.manifest
    yield "source", first.source, second.source
    yield "made from version", str(first.parent or ""), str(second.parent or "")
    yield "published", first.published, second.published
    for name, digest in first.files.items():
        yield f"sha256 of {name}", digest[:_DIGITS], second.files.get(name, "")[:_DIGITS]
    for tool, number in first.toolchain.items():
        yield tool, number, second.toolchain.get(tool, "")
