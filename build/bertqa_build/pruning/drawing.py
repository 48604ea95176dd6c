"""Figures of pruned versions: speed against F1, and what is left of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bertqa_build.plots import QUIET, Colour, draw
from bertqa_build.pruning.pareto import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVE_ROWS = 12
_LAYER_ROWS = 3
_SMALL = 7.5


def curve(points: Sequence[Point], *, standalone: bool = False) -> str:
    """Draw the speed of versions against their F1, a line for each precision.

    Args:
        points: The versions.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """

    def paint(axes: Sequence[Axes]) -> None:
        (axis,) = axes
        for precision, colour in (("FP32", Colour.MIDDLE), ("INT8", Colour.BEST)):
            those = sorted(
                (each for each in points if each.precision == precision),
                key=lambda each: each.over_fp32,
            )
            places = [each.over_fp32 for each in those], [each.scores.f1 for each in those]
            axis.plot(*places, color=colour, marker="o", label=precision)
            for each in those:
                axis.annotate(
                    f"{each.asked:g}x",
                    (each.over_fp32, each.scores.f1),
                    xytext=(4, 5),
                    textcoords="offset points",
                    color=QUIET,
                    fontsize=_SMALL,
                )
        axis.set_xlabel("times as fast as the unpruned FP32 version, measured", color=QUIET)
        axis.set_ylabel("F1", color=QUIET)
        axis.grid(color="#e5e7eb", linewidth=0.6)
        axis.margins(0.08)
        axis.legend(frameon=False)

    return draw(paint, [_CURVE_ROWS], standalone=standalone)


def layers(points: Sequence[Point], *, standalone: bool = False) -> str:
    """Draw what is left of each layer: heads and neurons, in percent of the most.

    Args:
        points: Pruned versions, of which each gets a row.
        standalone: Whether the SVG is a file of its own.

    Returns:
        An SVG.
    """
    heads = max((max(each.heads) for each in points), default=1) or 1
    neurons = max((max(each.neurons) for each in points), default=1) or 1

    def paint(axes: Sequence[Axes]) -> None:
        for axis, point in zip(axes, points, strict=True):
            places = range(len(point.heads))
            for left, values, most, colour in (
                (-0.2, point.heads, heads, Colour.MIDDLE),
                (0.2, point.neurons, neurons, Colour.BEST),
            ):
                bars = axis.bar(
                    [place + left for place in places],
                    [100 * value / most for value in values],
                    0.38,
                    color=colour,
                )
                axis.bar_label(bars, [str(value) for value in values], color=QUIET, fontsize=_SMALL)
            axis.set_xticks(places, [f"layer {place}" for place in places], fontsize=_SMALL)
            axis.set_yticks([])
            axis.set_ylim(0, 125)
            axis.set_title(f"{point.asked:g}x: heads (blue) and neurons (green)")

    return draw(paint, [_LAYER_ROWS] * len(points), standalone=standalone)
