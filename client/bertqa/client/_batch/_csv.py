"""Writing CSV, in UTF-8."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Mapping, Sequence
from typing import IO, Any

from bertqa._data_files import as_text


class CsvWriter:
    """Writes rows as CSV, in UTF-8.

    Args:
        file: Where to write; it is not closed.
        names: The names of the columns.
        delimiter: What separates the fields.
        is_marked: Whether to begin with a byte order mark.
    """

    def __init__(
        self, file: IO[bytes], names: Sequence[str], delimiter: str, *, is_marked: bool
    ) -> None:
        self._file = file
        self._names = names
        self._delimiter = delimiter
        if is_marked:
            self._file.write(codecs.BOM_UTF8)
        self._write(names)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Args:
            row: Its values by column; a column that is missing is empty.
        """
        self._write([as_text(row.get(name)) for name in self._names])

    def close(self) -> None:
        """Do nothing: each row is whole."""

    def _write(self, cells: Sequence[str]) -> None:
        line = io.StringIO(newline="")
        csv.writer(line, delimiter=self._delimiter).writerow(cells)
        # What no encoding has, a lone surrogate, is written as its code, and so is what no CSV has.
        text = line.getvalue().replace("\0", "\\x00")
        self._file.write(text.encode("utf-8", "backslashreplace"))
