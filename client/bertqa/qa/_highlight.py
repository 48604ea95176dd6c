"""Marking answers in their context, for a notebook or a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from bertqa.qa._answer import Answer

_FAINTEST = 0.15


@dataclass(frozen=True, slots=True, repr=False)
class Highlight:
    """A context with answers marked in it: as HTML in a notebook, in brackets elsewhere.

    The best answer is marked strongest, and where answers overlap the better one counts. Empty
    answers mark nothing.

    Attributes:
        context: The context.
        answers: The answers.
        around: How many characters are shown before the first answer and after the last; None
            shows the whole context.
    """

    context: str
    answers: tuple[Answer, ...]
    around: int | None = None

    def __repr__(self) -> str:
        return "".join(text if answer is None else f"[{text}]" for text, answer in self._pieces())

    def _repr_html_(self) -> str:
        best = max((answer.score for answer in self.answers), default=0.0) or 1.0
        marked = "".join(
            escape(text) if answer is None else _mark(text, answer, answer.score / best)
            for text, answer in self._pieces()
        )
        return f'<p style="max-width: 50em; line-height: 1.6">{marked}</p>'

    def _pieces(self) -> Iterator[tuple[str, Answer | None]]:
        """Yield the pieces between the edges of answers, each with the best answer over it."""
        shown = [answer for answer in self.answers if answer.text]
        edges = {edge for answer in shown for edge in (answer.start, answer.end)}
        first, last = 0, len(self.context)
        if edges and self.around is not None:
            first = max(first, min(edges) - self.around)
            last = min(last, max(edges) + self.around)
        if first > 0:
            yield "…", None
        for start, end in pairwise(sorted(edges | {first, last})):
            over = [each for each in shown if each.start <= start and end <= each.end]
            best = max(over, key=lambda each: each.score, default=None)
            yield self.context[start:end], best
        if last < len(self.context):
            yield "…", None


def highlight(context: str, *answers: Answer, around: int | None = None) -> Highlight:
    """Mark answers in their context.

    Args:
        context: The context that the answers are of.
        *answers: The answers.
        around: How many characters to show around the answers; None shows the whole context.

    Returns:
        HTML in a notebook, text with brackets elsewhere.
    """
    return Highlight(context, answers, around)


def _mark(text: str, answer: Answer, strength: float) -> str:
    return (
        f'<mark style="background: rgb(52 211 153 / {max(_FAINTEST, strength):.0%}); '
        f'color: inherit" title="score {answer.score:.3f}, version {answer.model_version}">'
        f"{escape(text)}</mark>"
    )
