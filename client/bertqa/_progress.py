"""How long work says what it is doing, so that any front end can show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being done and, of a countable stage, how far it is.

    Events of one stage come in a row. `total` is None where there is nothing to count; `unit`
    names what is counted, such as "questions" or "bytes"; `note` is a short remark.
    """

    stage: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    note: str = ""


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Show nothing; the `OnProgress` of those who want no events.

    Args:
        progress: An event.
    """
