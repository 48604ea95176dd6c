"""A question, a context, and pairs of them, whose lengths differ."""

from __future__ import annotations

QUESTION = "Who gave their name to Normandy?"
CONTEXT = "The Normans were the people who gave their name to Normandy, a region of France. " * 3


def pairs(count: int) -> list[tuple[str, str]]:
    """Return so many pairs."""
    return [(QUESTION, CONTEXT[number % 50 :] * (1 + number % 7)) for number in range(count)]
