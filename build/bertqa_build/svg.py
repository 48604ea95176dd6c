"""Drawing figures as SVG, to stand in a page or in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
svg.chart .on { fill: white; text-anchor: middle; }
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
    return _svg(parts, y, standalone=standalone)


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch from `low` to `high` on the axis that all ranges share."""

    label: str
    low: float
    high: float


def range_chart(ranges: Sequence[Range], *, standalone: bool = False) -> str:
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
    return _svg(parts, height, small=True, standalone=standalone)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a grid: what it says, and its `kind` as for a `Bar`."""

    text: str
    kind: str = "base"


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of cells by the rows' and the columns' names, under a title."""

    title: str
    rows: Mapping[str, Mapping[str, Cell]]


def grid_chart(grid: Grid, *, standalone: bool = False) -> str:
    """Draw coloured cells; a row need not have every column, and its own come in its order."""
    columns = list(dict.fromkeys(column for row in grid.rows.values() for column in row))
    label, head = 120, _TITLE + 34
    width = (WIDTH - label) / max(1, len(columns))
    parts = [f'<text class="title" x="0" y="16">{escape(grid.title)}</text>']
    for index, column in enumerate(columns):
        for line, text in enumerate(_two_lines(column)):
            parts.append(
                f'<text class="note" x="{label + width * (index + 0.5):.1f}" '
                f'y="{_TITLE + 12 + 14 * line}" text-anchor="middle">{escape(text)}</text>'
            )
    for number, (row_name, row) in enumerate(grid.rows.items()):
        y = head + _ROW * number
        parts.append(
            f'<text x="{label - 10}" y="{y + 16}" text-anchor="end">{escape(row_name)}</text>'
        )
        for column, cell in row.items():
            x = label + width * columns.index(column)
            parts.append(
                f'<rect class="{cell.kind}" x="{x + 1:.1f}" y="{y}" width="{width - 2:.1f}" '
                f'height="{_ROW - 3}" rx="3"/><text class="on" x="{x + width / 2:.1f}" '
                f'y="{y + 16}">{escape(cell.text)}</text>'
            )
    return _svg(parts, head + _ROW * len(grid.rows) + 8, small=True, standalone=standalone)


def _two_lines(text: str) -> tuple[str, str]:
    """Break a name at its last dot or space before its middle."""
    place = max(text.rfind(mark, 0, len(text) // 2 + 4) for mark in ". ")
    if place < 0:
        return text, ""
    return text[: place + 1].rstrip(), text[place + 1 :]


def _svg(
    parts: Sequence[str], height: float, *, small: bool = False, standalone: bool = False
) -> str:
    style = f"<style>{STYLE}</style>" if standalone else ""
    background = '<rect width="100%" height="100%" fill="white"/>' if standalone else ""
    return (
        f'<svg class="chart{" small" if small else ""}" xmlns="http://www.w3.org/2000/svg" '
        f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"{style}{background}{''.join(parts)}</svg>"
    )
