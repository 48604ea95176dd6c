"""Numbers and names in sentences."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3


def count(number: int, noun: str) -> str:
    """Return how many things there are, such as "2 tensors".

    Args:
        number: The number.
        noun: What one of them is called.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some_of(names: Sequence[str]) -> str:
    """Return the first few names, and three dots for those that are left out.

    Args:
        names: All of them.
    """
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
