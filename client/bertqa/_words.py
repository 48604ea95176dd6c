"""How numbers are written in sentences."""

from __future__ import annotations


def counted(number: float, noun: str, plural: str | None = None) -> str:
    """Return how many there are of something, as in "1 question" and "2 questions".

    Args:
        number: How many.
        noun: What, in the singular.
        plural: What, in the plural, where that is not the singular with an s.
    """
    figure = f"{number}" if isinstance(number, int) else f"{number:g}"
    return f"{figure} {noun}" if number == 1 else f"{figure} {plural or f'{noun}s'}"
