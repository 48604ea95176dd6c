"""CSV: with commas, semicolons, tabs or bars, strictly, so that no row is swallowed by another."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from bertqa._data_files._records import Record, find
from bertqa._data_files._text import has_mark, open_lines
from bertqa.errors import DataError

COMMA, TAB = ",", "\t"
# With it Excel names the delimiter; what saves the line again may put it in quotes.
_HINT = re.compile(r'("?)sep=(\t|[^\s"]?)\1[ \r\n]*', re.IGNORECASE)
_DELIMITERS = (COMMA, ";", TAB, "|")
# A context is one field, and may be a book.
_FIELD_LIMIT = 2**31 - 1


class CsvSource:
    """A CSV file.

    Args:
        path: The file.
        name: What to call it in messages.
        wanted: Columns that its first line most likely names.
        delimiter: What most likely separates its fields.

    Attributes:
        header: The names of its columns.
        delimiter: What separates its fields.
        is_marked: Whether it begins with a byte order mark, by which Excel knows UTF-8.

    Raises:
        DataError: Its first line cannot be read.
    """

    def __init__(
        self, path: Path, name: str, wanted: Sequence[str] = (), delimiter: str = COMMA
    ) -> None:
        csv.field_size_limit(_FIELD_LIMIT)
        self._path = path
        self.name = name
        with open_lines(path, name) as lines:
            self._skipped, first, hinted = _beginning(lines)
            if first.lstrip().startswith('{"'):
                raise DataError(f"{name} holds JSON, not CSV: let its name end in .jsonl.")
            self.delimiter = hinted or _delimiter_of(first, wanted, delimiter)
            self.header = self._header(chain([first], lines))
        self.is_marked = has_mark(path)

    def records(self) -> Iterator[Record]:
        """Yield the rows.

        Raises:
            DataError: A quote is not closed, or a row has more or fewer fields than the first line.
        """
        with open_lines(self._path, self.name) as lines:
            content = islice(lines, self._skipped, None)
            reader = csv.reader(content, delimiter=self.delimiter, strict=True)
            is_header = True
            while True:
                begin = self._skipped + reader.line_num + 1
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    end = self._skipped + reader.line_num
                    raise self._damaged(begin, end, error) from error
                if cells is None:
                    return
                is_blank = not "".join(cells).strip()
                if is_header or is_blank:
                    is_header = False
                    continue
                width = len(self.header)
                if len(cells) < width or "".join(cells[width:]).strip():
                    raise DataError(
                        f"{self.name} is damaged: line {begin} has {len(cells)} fields, and the "
                        f"first line names {width} columns. A field that holds "
                        f"{self.delimiter!r}, a quote or a line end has to stand in quotes."
                    )
                yield Record(f"Line {begin}", dict(zip(self.header, cells, strict=False)))

    def _header(self, lines: Iterator[str]) -> list[str]:
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        try:
            names = next(reader, [])
        except csv.Error as error:
            end = self._skipped + reader.line_num
            raise self._damaged(self._skipped + 1, end, error) from error
        # Where a table is wider than its text, columns at its end have no name.
        while len(names) > 1 and not names[-1].strip():
            del names[-1]
        return names

    def _damaged(self, begin: int, end: int, error: csv.Error) -> DataError:
        reason = f"{error} (line {end})"
        if "end of data" in str(error):
            reason = "a quote is opened there and not closed"
        elif "expected after" in str(error):
            reason += "; a quote within a field in quotes has to be written twice"
        return DataError(
            f"{self.name} is damaged in the row that begins at line {begin}: {reason}."
        )


def _beginning(lines: Iterator[str]) -> tuple[int, str, str | None]:
    """Return how many lines come before the one that names the columns, that line, and a hint.

    Blank lines may come before it, and the line with which Excel names the delimiter.
    """
    skipped, hinted = 0, None
    for line in lines:
        if hint := _HINT.fullmatch(line):
            hinted = hint[2] or None
        elif line.strip():
            return skipped, line, hinted
        skipped += 1
    return skipped, "", hinted


def _delimiter_of(line: str, wanted: Sequence[str], likely: str) -> str:
    """Return the delimiter with which the first line names the columns, else the most of them."""
    candidates = sorted(_DELIMITERS, key=lambda each: each != likely)
    names = {each: next(csv.reader([line], delimiter=each), []) for each in candidates}
    fitting = [
        each for each in candidates if all(find(names[each], name) is not None for name in wanted)
    ]
    return fitting[0] if wanted and fitting else max(candidates, key=lambda each: len(names[each]))
