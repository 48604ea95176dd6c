"""How numbers and lists are written in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: float, noun: str, plural: str | None = None) -> str:
    """Return how many there are of something, as in "1 question" and "2 questions".

    Args:
        number: How many.
        noun: What, in the singular.
        plural: What, in the plural, where that is not the singular with an s.
    """
    figure = f"{number}" if isinstance(number, int) else f"{number:g}"
    return f"{figure} {noun}" if number == 1 else f"{figure} {plural or f'{noun}s'}"


def first_of(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return the first of several items, and how many more there are, as in "a, b and 3 more".

    Args:
        items: All of them.
        most: How many are written out.
        separator: What stands between them.
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more
