"""Marking answers in their context: for a terminal, a notebook or a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from bertqa._checks import instance, optional, whole
from bertqa.qa._answer import Answer
from bertqa.qa._graphemes import cluster_end, cluster_start

_FAINTEST = 0.15


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a context, and the best of the answers that cover it, if there is one."""

    text: str
    answer: Answer | None = None


def cut_around(
    context: str, answers: Sequence[Answer], around: int | None = None
) -> Iterator[Piece]:
    """Cut a context into pieces where answers begin and end.

    Args:
        context: The text that the answers were given for.
        answers: The answers; where they overlap, the one with the highest score counts. Empty
            ones mark nothing.
        around: How many characters are kept before the first answer and after the last, or of the
            beginning where no answer has a text; an ellipsis stands for the rest. None keeps the
            whole context.

    Yields:
        The pieces in their order.
    """
    shown = [answer for answer in answers if answer.text]
    edges = {edge for answer in shown for edge in (answer.start, answer.end)}
    first, last = 0, len(context)
    if around is not None:
        first = cluster_start(context, max(first, min(edges, default=0) - around))
        last = cluster_end(context, min(last, max(edges, default=0) + around))
    if first > 0:
        yield Piece("…")
    for start, end in pairwise(sorted(edges | {first, last})):
        over = [each for each in shown if each.start <= start and end <= each.end]
        yield Piece(context[start:end], max(over, key=lambda each: each.score, default=None))
    if last < len(context):
        yield Piece("…")


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

    def __post_init__(self) -> None:
        instance(str)("context", self.context)
        for answer in self.answers:
            instance(Answer)("Each of the answers", answer)
        object.__setattr__(self, "around", optional(whole(0))("around", self.around))

    def __repr__(self) -> str:
        return "".join(
            piece.text if piece.answer is None else f"[{piece.text}]"
            for piece in cut_around(self.context, self.answers, self.around)
        )

    def _repr_html_(self) -> str:
        best = max((answer.score for answer in self.answers), default=0.0) or 1.0
        marked = "".join(
            escape(piece.text) if piece.answer is None else _mark(piece.text, piece.answer, best)
            for piece in cut_around(self.context, self.answers, self.around)
        )
        return f'<p style="max-width: 50em; line-height: 1.6">{marked}</p>'


def highlight(context: str, *answers: Answer, around: int | None = None) -> Highlight:
    """Mark answers in their context.

    Args:
        context: The context that the answers are of.
        *answers: The answers.
        around: How many characters to show around the answers; None shows the whole context.

    Returns:
        HTML in a notebook, text with brackets elsewhere.

    Raises:
        InvalidOptionError: An argument is not valid.
    """
    return Highlight(context, answers, around)


def _mark(text: str, answer: Answer, best: float) -> str:
    strength = answer.score / best
    return (
        f'<mark style="background: rgb(52 211 153 / {max(_FAINTEST, strength):.0%}); '
        f'color: inherit" title="score {answer.score:.3f}, version {answer.model_version}">'
        f"{escape(text)}</mark>"
    )
