"""JSON: a document in the manner of SQuAD or a list of records, and JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from bertqa._data_files._files import GZIP_FAULTS, encoding_of, unpacked
from bertqa._data_files._records import Record
from bertqa._data_files._squad_json import expanded, flattened
from bertqa._data_files._strict_json import JsonError, is_deep, parsed
from bertqa._data_files._text import open_lines
from bertqa._reason import reason_of
from bertqa.errors import DataError


class JsonSource:
    """A file with one JSON document, or, whatever it is called, with an object a line.

    Args:
        path: The file.
        name: What to call it in messages.
    """

    header = None

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self.name = name

    def records(self) -> Iterator[Record]:
        """Yield the questions.

        Raises:
            DataError: The file cannot be read, or is not in the manner of SQuAD.
        """
        return flattened(self._document, self.name)

    @cached_property
    def _document(self) -> Any:
        text = self._text()
        try:
            return parsed(text)
        except JsonError as fault:
            if fault.has_more and fault.line > 1:
                return self._lines(text)
            raise DataError(f"{self.name} {fault}.") from fault

    def _text(self) -> str:
        try:
            with self._path.open("rb") as raw, unpacked(raw, self.name) as file:
                content = file.read()
        except GZIP_FAULTS as error:
            raise DataError(
                f"{self.name} is damaged: its compressed data are cut short or changed ({error})."
            ) from error
        except OSError as error:
            raise DataError(f"{self.name} cannot be read: {reason_of(error)}.") from error
        encoding = encoding_of(content)
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            line = content[: error.start].decode(encoding, "ignore").count("\n") + 1
            raise DataError(
                f"{self.name} is not valid JSON in UTF-8: line {line} holds the byte "
                f"0x{content[error.start]:02x}. Save it as UTF-8."
            ) from error

    def _lines(self, text: str) -> list[Any]:
        """Return the objects, one a line; a line separator of Unicode may stand within one."""
        records = []
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                records.append(parsed(line))
            except JsonError as fault:
                raise DataError(
                    f"{self.name} {fault.problem} at line {number}, column {fault.column}."
                ) from fault
        return records


class JsonLinesSource:
    """A file of JSON Lines.

    Args:
        path: The file.
        name: What to call it in messages.
    """

    header = None

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self.name = name

    def records(self) -> Iterator[Record]:
        """Yield the lines; one that is not a JSON object has a problem.

        A line that holds a document or an article in SQuAD's form becomes several.

        Raises:
            DataError: The file is one JSON array, or a document or an article is damaged.
        """
        with open_lines(self._path, self.name) as lines:
            filled = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
            for place, (number, line) in enumerate(filled):
                if not place:
                    _refuse_json_array(line, self.name)
                record = _record(f"Line {number}", line)
                if record.problem is None:
                    yield from expanded(record.values, record.place, self.name)
                else:
                    yield record


def _refuse_json_array(line: str, name: str) -> None:
    if line.lstrip().startswith("["):
        raise DataError(
            f"{name} is a JSON array, not JSON Lines: write each of its objects as a line, as "
            "jq -c '.[]' does, or let its name end in .json."
        )


def _record(place: str, line: str) -> Record:
    if is_deep(line):
        return Record(place, {}, f"{place} is nested too deeply.")
    try:
        values = parsed(line)
    except JsonError as fault:
        return Record(place, {}, f"{place} {fault.problem} at column {fault.column}.")
    if not isinstance(values, dict):
        return Record(place, {}, f"{place} is not a JSON object.")
    return Record(place, values)
