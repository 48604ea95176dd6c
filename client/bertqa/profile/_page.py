"""A page with the phases of a question as a flame graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bertqa.evaluation import render_page
from bertqa.profile._operations import Operations
from bertqa.profile._span import TimeSpan

_WIDTH, _ROW = 1100.0, 30.0
# Of the text in a bar, about.
_CHARACTER = 7.2
_COLOURS = 6


@dataclass(frozen=True, slots=True)
class _Bar:
    """A rectangle of the flame graph, and what is written into it and about it."""

    x: float
    y: float
    width: float
    colour: int
    text: str
    title: str


def profile_page(
    title: str, about: Sequence[str], question: TimeSpan, operations: Operations
) -> str:
    """Return a page with the phases of a question, one file that loads nothing.

    Args:
        title: What was profiled.
        about: Sentences: when, on which machine, with which questions, and what came of it.
        question: The mean time of a question with its phases.
        operations: The operations.
    """
    whole = max(question.milliseconds, 1e-9)
    rows = max(depth for depth, _ in question.walk()) + 1
    return render_page(
        "profile.html",
        "bertqa.profile",
        title=title,
        about=about,
        spans=[(depth, span, span.milliseconds / whole) for depth, span in question.walk()],
        bars=list(_bars(question, whole, 0.0, 0, 0)),
        operations=operations,
        size=(_WIDTH, rows * _ROW, _ROW - 2),
    )


def _bars(span: TimeSpan, whole: float, begin_ms: float, depth: int, colour: int) -> Iterator[_Bar]:
    width = span.milliseconds / whole * _WIDTH
    room = int((width - 8) / _CHARACTER)
    text = span.name if len(span.name) <= room else span.name[: max(room - 1, 0)] + "…"
    title = f"{span.name}: {span.milliseconds:.2f} ms, {span.milliseconds / whole:.1%}"
    shown = text if room > 2 else ""
    yield _Bar(begin_ms / whole * _WIDTH, depth * _ROW, max(width, 0.5), colour, shown, title)
    for number, part in enumerate(span.parts):
        # Each phase has a colour, and all below it.
        own = 1 + number % (_COLOURS - 1) if depth == 0 else colour
        yield from _bars(part, whole, begin_ms, depth + 1, own)
        begin_ms += part.milliseconds
