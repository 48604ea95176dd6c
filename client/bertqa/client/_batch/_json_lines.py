"""JSON Lines: an object a line, each of which may have other fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bertqa.client._batch._columns import Record
from bertqa.client._batch._text import open_lines
from bertqa.client._batch._values import as_plain
from bertqa.errors import DataError


class JsonLinesSource:
    """A file of JSON Lines.

    Args:
        path: The file.
        name: What to call it in messages.
    """

    header = None

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def records(self) -> Iterator[Record]:
        """Yield the lines; one that is not a JSON object has a problem.

        Raises:
            DataError: The file is one JSON array.
        """
        with open_lines(self._path, self._name) as lines:
            filled = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
            for place, (number, line) in enumerate(filled):
                if not place:
                    refuse_json_array(line.encode("utf-8", "surrogateescape"), self._name)
                yield _record(f"Line {number}", line)


def refuse_json_array(beginning: bytes, name: str) -> None:
    """Raise what to do with a JSON array in place of JSON Lines.

    Args:
        beginning: How the file begins.
        name: What to call it in the message.

    Raises:
        DataError: It is one.
    """
    if beginning.lstrip().startswith(b"["):
        raise DataError(
            f"{name} is a JSON array, not JSON Lines: write each of its objects as a line, as "
            "jq -c '.[]' does."
        )


def _record(place: str, line: str) -> Record:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        return Record(place, {}, f"{place} is not valid JSON: {error.msg} at column {error.colno}.")
    except (ValueError, RecursionError) as error:
        return Record(place, {}, f"{place} is not valid JSON: {error}.")
    if not isinstance(values, dict):
        return Record(place, {}, f"{place} is not a JSON object.")
    return Record(place, values)


class JsonLinesWriter:
    """Writes rows as JSON Lines, in ASCII.

    Args:
        file: Where to write; it is not closed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Args:
            row: Its values by field.
        """
        plain = {name: as_plain(value) for name, value in row.items()}
        self._file.write(json.dumps(plain).encode() + b"\n")

    def close(self) -> None:
        """Do nothing: each row is whole."""
