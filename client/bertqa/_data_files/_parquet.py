"""Reading Parquet, where pyarrow is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertqa._data_files._files import import_pyarrow
from bertqa._data_files._records import Record
from bertqa._reason import reason_of
from bertqa.errors import DataError

_BATCH = 1024


class ParquetSource:
    """A Parquet file.

    Args:
        path: The file.
        name: What to call it in messages.

    Raises:
        DataError: It cannot be read, or pyarrow is not installed.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._arrow = import_pyarrow(name)
        self._path = path
        self.name = name
        try:
            with self._arrow.parquet.ParquetFile(path) as file:
                self.schema = file.schema_arrow
        except (OSError, ValueError, self._arrow.ArrowException) as error:
            raise self._unreadable(error) from error
        self.header: list[str] = self.schema.names

    def records(self) -> Iterator[Record]:
        """Yield the rows.

        Raises:
            DataError: The file is damaged.
        """
        types = self._arrow.types
        number = 0
        try:
            with self._arrow.parquet.ParquetFile(
                self._path, page_checksum_verification=True
            ) as file:
                for batch in file.iter_batches(_BATCH):
                    columns = [
                        _scalars(column) if _is_special(column.type, types) else column.to_pylist()
                        for column in batch.columns
                    ]
                    for values in zip(*columns, strict=True):
                        number += 1
                        yield Record(f"Row {number}", dict(zip(self.header, values, strict=True)))
        except (OSError, ValueError, self._arrow.ArrowException) as error:
            raise self._unreadable(error, f" after row {number}") from error

    def _unreadable(self, error: Exception, place: str = "") -> DataError:
        if isinstance(error, OSError) and error.errno:  # Arrow's own faults have no number.
            return DataError(f"{self.name} cannot be read: {os.strerror(error.errno)}.")
        return DataError(
            f"{self.name} cannot be read as Parquet{place}: it is damaged, cut short or of "
            "another kind.",
            detail=reason_of(error),
        )


def _is_special(kind: Any, types: Any) -> bool:
    """Return whether Python has no value for each of a type's, which then stay those of Arrow."""
    plain = (types.is_string, types.is_large_string, types.is_boolean, types.is_integer)
    return not any(is_kind(kind) for is_kind in (*plain, types.is_float64, types.is_null))


def _scalars(column: Any) -> list[Any]:
    return [value if value.is_valid else None for value in column]
