"""Opening whatever holds questions: which format it has, by its name or by how it begins."""

from __future__ import annotations

import gzip
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from bertqa._data_files._address import DataAddress
from bertqa._data_files._csv import COMMA, TAB, CsvSource
from bertqa._data_files._datasets import open_dataset
from bertqa._data_files._directories import check_directory, damage_in
from bertqa._data_files._files import (
    GZIP_FAULTS,
    GZIP_MAGIC,
    PARQUET_MAGIC,
    STANDARD_STREAM,
    binary,
    encoding_of,
    unpacked,
)
from bertqa._data_files._json import JsonLinesSource, JsonSource
from bertqa._data_files._parquet import ParquetSource
from bertqa._data_files._records import Source
from bertqa._reason import check_finite, open_finite, reason_of
from bertqa.errors import DataError

_GZIP_SUFFIX = ".gz"
_SNIFFED = 4096


class Kind(StrEnum):
    """The formats."""

    CSV = "CSV"
    JSON = "JSON"
    JSON_LINES = "JSON Lines"
    PARQUET = "Parquet"


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is written.

    Attributes:
        kind: The format.
        delimiter: What separates the fields of CSV.
        compressed: Whether gzip compresses the whole.
        is_marked: Whether CSV begins with a byte order mark.
    """

    kind: Kind
    delimiter: str = COMMA
    compressed: bool = False
    is_marked: bool = False


_BY_SUFFIX = {
    ".csv": Format(Kind.CSV),
    ".tsv": Format(Kind.CSV, TAB),
    ".json": Format(Kind.JSON),
    ".jsonl": Format(Kind.JSON_LINES),
    ".ndjson": Format(Kind.JSON_LINES),
    ".parquet": Format(Kind.PARQUET),
}
_KNOWN = f"{', '.join(_BY_SUFFIX)}, each but .parquet also with {_GZIP_SUFFIX} after it"


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
def opened(
    address: DataAddress, wanted: Sequence[str] = (), splits: Sequence[str] = ()
) -> Iterator[tuple[Source, Format]]:
    """Open an input; what can be read only once is copied to a temporary file.

    Args:
        address: Where it is; `-` is standard input.
        wanted: Columns that it most likely has, by which the delimiter of CSV is known.
        splits: Which split of a data set to take where the address names none, best first.

    Yields:
        The input, and its format; that of a data set of the library `datasets` is JSON.

    Raises:
        DataError: It cannot be read.
    """
    path = address.path
    if address.is_dataset:
        if address.is_local:
            check_directory(path, _group_of)
        with ExitStack() as stack:
            try:
                rows = stack.enter_context(open_dataset(address, splits))
            except DataError as error:
                # With a detail, it is the library that cannot read what is there.
                is_unread = address.is_local and error.detail is not None
                damage = damage_in(path, _source_in) if is_unread else None
                if damage is None:
                    raise
                raise damage from error
            yield rows, Format(Kind.JSON)
    elif is_stream(path):
        with _copied(path) as (copy, name):
            yield _source(copy, name, format_of(path) or _sniffed(copy) or Format(Kind.CSV), wanted)
    else:
        yield _source(path, str(path), _format_of_file(path), wanted)


def source_of(path: Path, name: str, wanted: Sequence[str] = ()) -> tuple[Source, Format]:
    """Open one file under another name, such as the copy of a remote one.

    Args:
        path: The file, whose own name says or does not say the format.
        name: What to call it in messages.
        wanted: Columns that it most likely has, by which the delimiter of CSV is known.

    Returns:
        The input, and its format.

    Raises:
        DataError: It cannot be read.
    """
    return _source(path, name, _format_of_file(path), wanted)


def _group_of(path: Path) -> object:
    """Return what the files have in common that `datasets` reads in one go."""
    found = format_of(path)
    if found is None:
        return None
    kind = Kind.JSON if found.kind is Kind.JSON_LINES else found.kind
    return kind, found.delimiter


def _source_in(path: Path) -> Source | None:
    """Return a file of a directory, None where its name is not one of data."""
    if format_of(path) is None:
        return None
    return _source(path, str(path), _format_of_file(path), ())[0]


def _format_of_file(path: Path) -> Format:
    """Return the format of a file: by its name, or of JSON and Parquet by how it begins."""
    named = format_of(path)
    if named is not None and named.kind is not Kind.JSON:
        return named
    try:
        with path.open("rb") as raw:
            if raw.peek(len(PARQUET_MAGIC)).startswith(PARQUET_MAGIC):
                return Format(Kind.PARQUET)
            if named is None:
                with suppress(*GZIP_FAULTS):
                    unpacked(raw, str(path))
    except FileNotFoundError as error:
        raise DataError(f"The file {path} does not exist.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error
    found = named or _sniffed(path)
    if found is None:
        raise DataError(f"{path} has to end in {_KNOWN}. Rename it where it is one of these.")
    return found


@contextmanager
def _copied(path: Path) -> Iterator[tuple[Path, str]]:
    name = "Standard input" if str(path) == STANDARD_STREAM else str(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "input")
        with _stream(path, name) as stream:
            try:
                with copy.open("wb") as file:
                    shutil.copyfileobj(stream, file)
            except OSError as error:
                raise DataError(
                    f"{name} cannot be copied to {folder}: {reason_of(error)}. TMPDIR names "
                    "another place for it."
                ) from error
        yield copy, name


@contextmanager
def _stream(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a pipe, or standard input, which stays open."""
    with ExitStack() as opened_here:
        try:
            if str(path) == STANDARD_STREAM:
                stream = binary(sys.stdin, name)
                check_finite(stream)
            else:
                stream = opened_here.enter_context(open_finite(path))
        except OSError as error:
            raise DataError(f"{name} cannot be read: {reason_of(error)}.") from error
        yield stream


def _source(path: Path, name: str, written: Format, wanted: Sequence[str]) -> tuple[Source, Format]:
    match written.kind:
        case Kind.CSV:
            source = CsvSource(path, name, wanted, written.delimiter)
            return source, Format(Kind.CSV, source.delimiter, is_marked=source.is_marked)
        case Kind.JSON:
            return JsonSource(path, name), Format(Kind.JSON)
        case Kind.JSON_LINES:
            return JsonLinesSource(path, name), Format(Kind.JSON_LINES)
    return ParquetSource(path, name), Format(Kind.PARQUET)


def _sniffed(path: Path) -> Format | None:
    """Return the format that a file begins like, None where it may be a table or anything."""
    with path.open("rb") as file:
        beginning = file.read(_SNIFFED)
    if beginning.startswith(GZIP_MAGIC):
        with suppress(OSError, *GZIP_FAULTS), gzip.open(path) as packed:
            beginning = packed.read(_SNIFFED)
    if beginning.startswith(PARQUET_MAGIC):
        return Format(Kind.PARQUET)
    text = beginning.decode(encoding_of(beginning), "replace").lstrip()
    if text.startswith("[") or _is_one_document(text):
        return Format(Kind.JSON)
    if text.startswith("{"):
        return Format(Kind.JSON_LINES)
    return None


def _is_one_document(text: str) -> bool:
    """Return whether text begins as an object that is spread over several lines."""
    first, newline, _ = text.partition("\n")
    return text.startswith("{") and bool(newline) and first.rstrip().endswith(("{", "[", ","))
