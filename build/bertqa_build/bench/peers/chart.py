"""A comparison as a figure: questions per second against F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bertqa_build.bench.peers.result import PeersComparison, Row
from bertqa_build.plots import QUIET, Colour
from bertqa_build.plots import draw as draw_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROOM = 0.15
_NAMES_FROM = 1.04


def draw(comparison: PeersComparison) -> str:
    """Return a file of SVG with a mark for each peer that was run; its name is on the right.

    Args:
        comparison: What was measured.
    """
    rows = sorted(
        comparison.measured, key=lambda row: (row.f1, row.questions_per_second), reverse=True
    )

    def paint(axes: Sequence[Axes]) -> None:
        (only,) = axes
        for place, row in enumerate(rows):
            _mark(only, row, 1 - (place + 0.5) / len(rows))
        only.set_frame_on(True)
        only.spines[["top", "right"]].set_visible(False)
        only.margins(x=_ROOM, y=_ROOM)
        only.set_xlim(left=0)
        only.set_xlabel("questions per second")
        only.set_ylabel("F1")
        only.set_title(f"{comparison.questions} questions of {comparison.dataset}")

    return draw_axes(paint, [len(rows) + 3], standalone=True)


def _mark(axes: Axes, row: Row, height: float) -> None:
    place = row.questions_per_second, row.f1
    colour = Colour.BEST if row.peer.kind.is_ours else Colour.BASE
    axes.plot(*place, "o", color=colour, markersize=6)
    axes.annotate(
        f"{row.peer}: {row.questions_per_second:.1f}",
        place,
        xytext=(_NAMES_FROM, height),
        textcoords="axes fraction",
        va="center",
        color=QUIET,
        arrowprops={
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.6,
            "relpos": (0, 0.5),
            "shrinkA": 0,
        },
    )
