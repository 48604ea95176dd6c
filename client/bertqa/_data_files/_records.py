"""The rows of a data file as they were read, and how its columns are found by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a file as it was read; `problem` says what is wrong with it.

    Attributes:
        place: Where it is, such as "Line 3".
        values: Its values by the names of their columns.
        problem: A sentence, or None.
    """

    place: str
    values: Mapping[str, Any]
    problem: str | None = None


class Source(Protocol):
    """An input, which may be read several times.

    Attributes:
        name: What to call it in messages.
    """

    name: str

    @property
    def header(self) -> Sequence[str] | None:
        """The names of its columns, or None where each row has its own."""
        ...

    def records(self) -> Iterator[Record]:
        """Yield its rows from the first one."""
        ...


def find(names: Sequence[str], wanted: str) -> str | None:
    """Return the column of a name, or, where none has it exactly, in another case.

    Args:
        names: The names of the columns.
        wanted: The name to look for.

    Returns:
        The column's own name, the first of several; None where there is none.
    """
    if wanted in names:
        return wanted
    return next(iter(alike(names, wanted)), None)


def alike(names: Sequence[str], wanted: str) -> list[str]:
    """Return the columns that have a name in any case.

    Args:
        names: The names of the columns.
        wanted: The name to look for.
    """
    return [name for name in names if folded(name) == folded(wanted)]


def folded(name: str) -> str:
    """Return a name without its case, and without invisible characters, such as a second mark.

    Args:
        name: The name of a column.
    """
    return "".join(each for each in name if each.isprintable()).strip().casefold()
