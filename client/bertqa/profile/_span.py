"""A time and the parts that it consists of, as a flame graph shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """A time with its parts, which together may take less than the whole.

    Attributes:
        name: What takes the time.
        milliseconds: How long.
        parts: What it consists of, in the order in which it happens.
    """

    name: str
    milliseconds: float
    parts: tuple[TimeSpan, ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[int, TimeSpan]]:
        """Yield it and all below it, each with how deep it lies.

        Args:
            depth: How deep this one lies.
        """
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "name": self.name,
            "ms": self.milliseconds,
            "parts": [part.to_dict() for part in self.parts],
        }
