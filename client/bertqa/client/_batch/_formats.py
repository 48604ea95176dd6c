"""Writing an output in the format that its name, or else the input, has."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

from bertqa._data_files import TAB, Format, Kind, ParquetSource, Source, format_of
from bertqa.client._batch._csv import CsvWriter
from bertqa.client._batch._json_lines import JsonLinesWriter
from bertqa.client._batch._parquet import ColumnTypes, ParquetWriter
from bertqa.errors import DataError

# Formats that are not written; a file of these names that holds another one misleads.
_NOT_WRITTEN = {".json", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".xls", ".xlsx", ".ods"}
_WRITTEN = ".csv, .tsv, .jsonl, .ndjson, .parquet, each but .parquet also with .gz after it"


class Writer(Protocol):
    """Writes the rows of an output."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Args:
            row: Its values by column.
        """
        ...

    def close(self) -> None:
        """Write what is left; the file stays open."""
        ...


def written_format(path: Path, own: Format) -> Format:
    """Return the format of an output: that of its name, or else that of the input.

    Args:
        path: The output.
        own: The format of the input. JSON is written as JSON Lines. CSV keeps its delimiter and its
            byte order mark, so that what opened the input opens the output; `.tsv` has tabs.
    """
    found = format_of(path) or own
    if found.kind is Kind.JSON:
        return Format(Kind.JSON_LINES)
    if found.kind is own.kind is Kind.CSV:
        delimiter = found.delimiter if found.delimiter == TAB else own.delimiter
        return replace(found, delimiter=delimiter, is_marked=own.is_marked)
    return found


def check_name(path: Path) -> None:
    """Check that the name of an output does not promise a format that is not written.

    Args:
        path: The output.

    Raises:
        DataError: It does, as `.xlsx` and `.json` do.
    """
    named = format_of(path)
    if (named is None or named.kind is Kind.JSON) and path.suffix.lower() in _NOT_WRITTEN:
        raise DataError(
            f"{path} cannot be written: {path.suffix} is another format. Let its name end in "
            f"{_WRITTEN}."
        )


@contextmanager
def writing(
    file: IO[bytes], written: Format, kept: Sequence[str], own: Sequence[str], types: Any
) -> Iterator[Writer]:
    """Open a writer on a file.

    Args:
        file: Where to write; it stays open.
        written: The format.
        kept: The names of the input's columns.
        own: The names of the answer's columns.
        types: For Parquet, the schema of the input or the `ColumnTypes` of its columns.

    Yields:
        The writer. What is left is written when the block ends.
    """
    packed = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if written.compressed else None
    sink: Any = packed or file
    writer: Writer
    match written.kind:
        case Kind.CSV:
            writer = CsvWriter(sink, [*kept, *own], written.delimiter, is_marked=written.is_marked)
        case Kind.PARQUET:
            writer = ParquetWriter(sink, kept, own, types)
        case _:
            writer = JsonLinesWriter(sink)

    def end() -> None:
        writer.close()
        if packed is not None:
            packed.close()

    try:
        yield writer
    except BaseException:
        with suppress(Exception):  # What ended the block counts.
            end()
        raise
    end()


def types_of(source: Source) -> Any:
    """Return the schema of a Parquet input, and for others types that are yet to be observed.

    Args:
        source: The input.
    """
    return source.schema if isinstance(source, ParquetSource) else ColumnTypes()
