"""What files of data share: the standard streams, gzip, encodings, and kinds without data."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import IO, Any

from bertqa.errors import DataError

STANDARD_STREAM = "-"
_STANDARD = "/dev/{0}", "/dev/fd/{1}", "/proc/self/fd/{1}"
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
GZIP_FAULTS = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading gzip raises where its data are cut short or changed."""


# How files begin that people take for text, and what to do with them.
_UNPACK = "unpack it first"
_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive or a workbook", f"{_UNPACK}, or save the sheet as CSV in UTF-8"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook", "save the sheet as CSV in UTF-8"),
    (b"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"%PDF-", "a PDF", "save its text"),
    (PARQUET_MAGIC, "a Parquet file", "let its name end in .parquet"),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"SQLite format 3\0", "a database", "export it as CSV in UTF-8"),
)
_LONGEST_MAGIC = max(len(magic) for magic, _, _ in _OTHERS)


def unpacked(raw: io.BufferedReader, name: str) -> io.BufferedReader:
    """Return a file whose gzip is undone, if it has any, whatever its name.

    Args:
        raw: The file, at its beginning.
        name: What to call it in messages.

    Raises:
        DataError: It does not hold text but an archive, a workbook, another compression.
    """
    file = raw
    if raw.peek(2).startswith(GZIP_MAGIC):
        file = io.BufferedReader(gzip.GzipFile(fileobj=raw))
        if file.peek(2).startswith(GZIP_MAGIC):
            raise DataError(f"{name} is compressed twice with gzip: {_UNPACK}.")
    beginning = file.peek(_LONGEST_MAGIC)
    for magic, kind, what_to_do in _OTHERS:
        if beginning.startswith(magic):
            raise DataError(f"{name} is {kind}, not text: {what_to_do}.")
    return file


def standard(path: Path, name: str, descriptor: int) -> Path:
    """Return a path, `-` in place of a name that the system has for a standard stream.

    Where the stream is a file, the name leads to that file, which would be opened a second time.

    Args:
        path: The path.
        name: The system's name of the stream, `stdin` or `stdout`.
        descriptor: Its descriptor.
    """
    names = [each.format(name, descriptor) for each in _STANDARD]
    return Path(STANDARD_STREAM) if str(path) in names else path


def binary(stream: object, name: str) -> IO[bytes]:
    """Return the bytes under a standard stream.

    Args:
        stream: `sys.stdin` or `sys.stdout`, or what took its place; None where it is closed.
        name: What to call it in messages.

    Raises:
        DataError: There are none, as in a notebook.
    """
    below = getattr(stream, "buffer", None)
    if below is None:
        state = "is closed" if stream is None else f"is a {type(stream).__name__}, without bytes"
        raise DataError(f"{name} {state}: name a file.")
    found: IO[bytes] = below
    return found


def encoding_of(beginning: bytes) -> str:
    """Return the encoding of a text: UTF-16 where it begins with its mark, else UTF-8.

    Args:
        beginning: Its first bytes, two at least where it has so many.
    """
    is_utf16 = beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf16 else "utf-8-sig"


def import_pyarrow(name: str) -> Any:
    """Return the module pyarrow, with its part for Parquet.

    Args:
        name: The file that needs it, as a sentence begins with it.

    Raises:
        DataError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise DataError(
            f"{name} is a Parquet file, which needs the extra 'parquet': from a clone of the "
            "project, run pip install '.[parquet]'.",
            detail=str(error),
        ) from error
    return pyarrow
