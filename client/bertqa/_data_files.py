"""What files of data are packed in: gzip, and Parquet where pyarrow is installed."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

from bertqa.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
GZIP_FAULTS = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading gzip raises where its data are cut short or changed."""


def unpacked(raw: io.BufferedReader) -> io.BufferedReader:
    """Return a file whose gzip is undone, if it has any, whatever its name.

    Args:
        raw: The file, at its beginning.
    """
    if raw.peek(2).startswith(GZIP_MAGIC):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    return raw


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
