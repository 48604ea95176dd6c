"""Drawing figures as SVG, to stand in a page or in a file of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
_LABEL_WIDTH = 250
_NOTE_WIDTH = 150
_ROW = 26
_BAR = 16
_TITLE = 30
_GAP = 18

STYLE = """
svg.chart { font: 13px system-ui, sans-serif; max-width: 100%; height: auto; }
svg.chart text { fill: #1f2937; }
svg.chart .title { font-weight: 600; }
svg.chart .note { fill: #6b7280; }
svg.chart .base { fill: #9ca3af; }
svg.chart .middle { fill: #60a5fa; }
svg.chart .best { fill: #059669; }
svg.chart .axis { stroke: #9ca3af; stroke-dasharray: 2 3; }
svg.small { font-size: 11px; }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `kind` is `base`, `middle` or `best` and chooses its colour."""

    label: str
    value: float
    note: str
    kind: str = "base"


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that share a scale, under a title."""

    title: str
    bars: Sequence[Bar]


def bar_chart(groups: Sequence[Group], *, standalone: bool = False) -> str:
    """Draw horizontal bars; each group has a scale of its own.

    A `standalone` chart brings its style and can be a file.
    """
    room = WIDTH - _LABEL_WIDTH - _NOTE_WIDTH
    parts: list[str] = []
    y = 0
    for group in groups:
        parts.append(f'<text class="title" x="0" y="{y + 16}">{escape(group.title)}</text>')
        y += _TITLE
        largest = max((bar.value for bar in group.bars), default=0) or 1
        for bar in group.bars:
            length = max(1.0, room * bar.value / largest)
            middle = y + _BAR - 3
            parts.append(
                f'<text x="{_LABEL_WIDTH - 10}" y="{middle}" text-anchor="end">'
                f"{escape(bar.label)}</text>"
                f'<rect class="{bar.kind}" x="{_LABEL_WIDTH}" y="{y}" width="{length:.1f}" '
                f'height="{_BAR}" rx="2"/>'
                f'<text class="note" x="{_LABEL_WIDTH + length + 8:.1f}" y="{middle}">'
                f"{escape(bar.note)}</text>"
            )
            y += _ROW
        y += _GAP
    style = f"<style>{STYLE}</style>" if standalone else ""
    background = '<rect width="100%" height="100%" fill="white"/>' if standalone else ""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        f'viewBox="0 0 {WIDTH} {y}" role="img">{style}{background}{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch from `low` to `high` on the axis that all ranges share."""

    label: str
    low: float
    high: float


def range_chart(ranges: Sequence[Range]) -> str:
    """Draw each range as a line on one axis, with a mark at zero."""
    row, room = 17, WIDTH - _LABEL_WIDTH - _NOTE_WIDTH
    least = min((each.low for each in ranges), default=0.0)
    scale = room / ((max((each.high for each in ranges), default=1.0) - least) or 1.0)
    height = row * len(ranges) + 10
    zero = _LABEL_WIDTH + (0 - least) * scale
    parts = [f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{height}"/>']
    for index, each in enumerate(ranges):
        y = row * index + 12
        left = _LABEL_WIDTH + (each.low - least) * scale
        width = max(1.0, (each.high - each.low) * scale)
        parts.append(
            f'<text x="{_LABEL_WIDTH - 10}" y="{y + 4}" text-anchor="end">{escape(each.label)}'
            f'</text><rect class="middle" x="{left:.1f}" y="{y - 4}" width="{width:.1f}" '
            f'height="8" rx="4"/><text class="note" x="{left + width + 8:.1f}" y="{y + 4}">'
            f"{each.low:.3g} to {each.high:.3g}</text>"
        )
    return (
        f'<svg class="chart small" xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'
    )
