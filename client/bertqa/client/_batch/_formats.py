"""Which format a file has, by its name, or, where it is a pipe, by how it begins."""

from __future__ import annotations

import gzip
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol

from bertqa._data_files import (
    GZIP_FAULTS,
    GZIP_MAGIC,
    PARQUET_MAGIC,
    STANDARD_STREAM,
    encoding_of,
    unpacked,
)
from bertqa._reason import reason_of
from bertqa.client._batch._columns import Columns, Record
from bertqa.client._batch._csv import COMMA, TAB, CsvSource, CsvWriter
from bertqa.client._batch._json_lines import JsonLinesSource, JsonLinesWriter, refuse_json_array
from bertqa.client._batch._parquet import ColumnTypes, ParquetSource, ParquetWriter
from bertqa.errors import DataError

_GZIP_SUFFIX = ".gz"
_SNIFFED = 4096


class Kind(StrEnum):
    """The formats."""

    CSV = "CSV"
    JSON_LINES = "JSON Lines"
    PARQUET = "Parquet"


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is written.

    Attributes:
        kind: The format.
        delimiter: What separates the fields of CSV.
        compressed: Whether gzip compresses the whole.
    """

    kind: Kind
    delimiter: str = COMMA
    compressed: bool = False


_BY_SUFFIX = {
    ".csv": Format(Kind.CSV),
    ".tsv": Format(Kind.CSV, TAB),
    ".jsonl": Format(Kind.JSON_LINES),
    ".ndjson": Format(Kind.JSON_LINES),
    ".parquet": Format(Kind.PARQUET),
}
# Formats that are not written; a file of these names that holds another one misleads.
_NOT_WRITTEN = {".json", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".xls", ".xlsx", ".ods"}
KNOWN = f"{', '.join(_BY_SUFFIX)}, or but for Parquet one of these and {_GZIP_SUFFIX}"


class Source(Protocol):
    """An input, which may be read several times."""

    @property
    def header(self) -> Sequence[str] | None:
        """The names of its columns, or None where each row has its own."""
        ...

    def records(self) -> Iterator[Record]:
        """Yield its rows from the first one."""
        ...


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


def format_of(path: Path) -> Format | None:
    """Return the format that the name of a file stands for, or None where it stands for none.

    Args:
        path: The file, which need not exist.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if not suffixes or suffixes[-1] != _GZIP_SUFFIX:
        return _BY_SUFFIX.get(suffixes[-1]) if suffixes else None
    inner = _BY_SUFFIX.get(suffixes[0]) if len(suffixes) > 1 else None
    if inner is None or inner.kind is Kind.PARQUET:
        return None
    return Format(inner.kind, inner.delimiter, compressed=True)


def check_name(path: Path) -> None:
    """Check that the name of an output does not promise a format that is not written.

    Args:
        path: The output.

    Raises:
        DataError: It does, as `.xlsx` and `.json` do.
    """
    if format_of(path) is None and path.suffix.lower() in _NOT_WRITTEN:
        raise DataError(
            f"{path} cannot be written: {path.suffix} is another format. Let its name end in "
            f"{KNOWN}."
        )


def is_stream(path: Path) -> bool:
    """Return whether a path is standard input or output, a pipe or a device.

    Args:
        path: The path.
    """
    if str(path) == STANDARD_STREAM:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextmanager
def opened(path: Path, columns: Columns) -> Iterator[tuple[Source, Format]]:
    """Open an input; what can be read only once is copied to a temporary file.

    Args:
        path: The file, or `-` for standard input.
        columns: The columns that it has to have.

    Yields:
        The input, and its format.

    Raises:
        DataError: It cannot be read, or lacks a column.
    """
    if not is_stream(path):
        named = format_of(path)
        if named is None:
            with suppress(OSError, *GZIP_FAULTS), path.open("rb") as raw:
                refuse_json_array(unpacked(raw, str(path)).peek(_SNIFFED), str(path))
            raise DataError(f"{path} has to end in {KNOWN}. Rename it where it is one of these.")
        yield _source(path, str(path), named, columns)
        return
    name = "Standard input" if str(path) == STANDARD_STREAM else str(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "input")
        try:
            with copy.open("wb") as file:
                if str(path) == STANDARD_STREAM:
                    shutil.copyfileobj(sys.stdin.buffer, file)
                else:
                    with path.open("rb") as stream:
                        shutil.copyfileobj(stream, file)
        except OSError as error:
            raise DataError(
                f"{name} cannot be copied to {folder}: {reason_of(error)}. TMPDIR names another "
                "place for it."
            ) from error
        yield _source(copy, name, format_of(path) or _sniffed(copy), columns)


def _source(path: Path, name: str, written: Format, columns: Columns) -> tuple[Source, Format]:
    match written.kind:
        case Kind.CSV:
            source = CsvSource(path, name, columns, written.delimiter)
            return source, Format(Kind.CSV, source.delimiter)
        case Kind.JSON_LINES:
            return JsonLinesSource(path, name), Format(Kind.JSON_LINES)
    return ParquetSource(path, name, columns), Format(Kind.PARQUET)


def _sniffed(path: Path) -> Format:
    with path.open("rb") as file:
        beginning = file.read(_SNIFFED)
    if beginning.startswith(GZIP_MAGIC):
        with suppress(OSError, *GZIP_FAULTS), gzip.open(path) as unpacked:
            beginning = unpacked.read(_SNIFFED)
    if beginning.startswith(PARQUET_MAGIC):
        return Format(Kind.PARQUET)
    is_json = beginning.decode(encoding_of(beginning), "replace").lstrip().startswith(("{", "["))
    return Format(Kind.JSON_LINES if is_json else Kind.CSV)


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
            writer = CsvWriter(sink, [*kept, *own], written.delimiter)
        case Kind.JSON_LINES:
            writer = JsonLinesWriter(sink)
        case Kind.PARQUET:
            writer = ParquetWriter(sink, kept, own, types)

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
