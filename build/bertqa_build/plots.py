"""The look of every figure: matplotlib draws them as SVG, the same text for the same data."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 7.9
"""The width of every figure, in inches."""
ROW = 0.27
"""The height of a row, such as a bar, in inches."""
QUIET = "#6b7280"
_TITLE = 0.45
_PADDING = 5

_STYLE: Any = {
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "font.family": "sans-serif",
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "bertqa",
    "text.color": "#1f2937",
    "text.parse_math": False,
    "xtick.color": QUIET,
    "ytick.color": "#1f2937",
}


class Colour(StrEnum):
    """What a mark stands for: the value to compare with, one in between, or the best one."""

    BASE = "#9ca3af"
    MIDDLE = "#60a5fa"
    BEST = "#059669"


def draw(
    paint: Callable[[Sequence[Axes]], None],
    rows: Sequence[int],
    *,
    standalone: bool = False,
) -> str:
    """Draw axes one under the other, without frames, as SVG whose text stays text.

    Args:
        paint: Draws on the axes that it is called with.
        rows: The number of rows that each axes has room for.
        standalone: Whether the SVG is a file of its own: with an XML declaration and a white
            background. Otherwise it can stand in an HTML page.

    Returns:
        The text of the SVG.
    """
    # Imported where it is used: it takes longer than all else that `bert-qa` needs.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file = io.StringIO()
    with rc_context(_STYLE):
        heights = [ROW * count + _TITLE for count in rows]
        figure = Figure((WIDTH, sum(heights)), layout="constrained")
        figure.patch.set_alpha(1.0 if standalone else 0.0)
        axes = list(figure.subplots(len(rows), squeeze=False, height_ratios=heights)[:, 0])
        for each in axes:
            each.set_frame_on(False)
            each.tick_params(length=0)
        paint(axes)
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text if standalone else text[text.index("<svg") :]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label on the left, its length, and a note on its right."""

    label: str
    value: float
    note: str
    colour: Colour = Colour.BASE


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that share a scale, under a title."""

    title: str
    bars: Sequence[Bar]


def bar_chart(groups: Sequence[Group], *, standalone: bool = False) -> str:
    """Draw groups of horizontal bars as SVG, each group on a scale of its own.

    Args:
        groups: The groups from top to bottom.
        standalone: Whether the SVG is a file of its own, as for `draw`.

    Returns:
        An SVG.
    """

    def paint(axes: Sequence[Axes]) -> None:
        for each, group in zip(axes, groups, strict=True):
            places = range(len(group.bars))
            each.barh(
                places,
                [bar.value for bar in group.bars],
                height=0.62,
                color=[bar.colour for bar in group.bars],
            )
            for place, bar in zip(places, group.bars, strict=True):
                # On the left of a bar below zero the note would cover the label.
                each.annotate(
                    bar.note,
                    (max(bar.value, 0.0), place),
                    xytext=(_PADDING, 0),
                    textcoords="offset points",
                    va="center",
                    color=QUIET,
                )
            each.set_yticks(places, [bar.label for bar in group.bars])
            each.set_xticks([])
            each.invert_yaxis()
            each.margins(x=0.3, y=0.02)
            each.set_title(group.title, x=0)

    return draw(paint, [len(group.bars) for group in groups], standalone=standalone)
