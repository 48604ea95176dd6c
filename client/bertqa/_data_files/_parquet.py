"""Reading Parquet, where pyarrow is installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from bertqa._data_files._files import import_pyarrow
from bertqa._data_files._records import Record
from bertqa._reason import reason_of
from bertqa.errors import DataError

_BATCH = 1024


class ParquetSource:
    """A Parquet file.

    Args:
        path: The file, or what opens it where it is not one of this machine.
        name: What to call it in messages.

    Attributes:
        schema: Its schema, of Arrow.
        group_rows: How many rows each of its row groups has.

    Raises:
        DataError: It cannot be read, or pyarrow is not installed.
    """

    def __init__(self, path: Path | Callable[[], IO[bytes]], name: str) -> None:
        self._arrow = import_pyarrow(name)
        self._path = path
        self.name = name
        try:
            with ExitStack() as opened:
                file = self._file(opened)
                self.schema = file.schema_arrow
                self.group_rows = [
                    file.metadata.row_group(number).num_rows
                    for number in range(file.num_row_groups)
                ]
        except (OSError, ValueError, self._arrow.ArrowException) as error:
            raise self._unreadable(error) from error
        self.header: list[str] = self.schema.names

    def records(self, groups: Sequence[int] | None = None) -> Iterator[Record]:
        """Yield the rows.

        Args:
            groups: The numbers of the row groups to read, one after the other; None is all.

        Raises:
            DataError: The file is damaged.
        """
        types = self._arrow.types
        number = sum(self.group_rows[: groups[0]]) if groups else 0
        try:
            with ExitStack() as opened:
                file = self._file(opened, page_checksum_verification=True)
                for batch in file.iter_batches(_BATCH, row_groups=groups):
                    columns = [
                        _scalars(column) if _is_special(column.type, types) else column.to_pylist()
                        for column in batch.columns
                    ]
                    for values in zip(*columns, strict=True):
                        number += 1
                        yield Record(f"Row {number}", dict(zip(self.header, values, strict=True)))
        except (OSError, ValueError, self._arrow.ArrowException) as error:
            raise self._unreadable(error, f" after row {number}") from error

    def _file(self, opened: ExitStack, **options: Any) -> Any:
        source: Any = self._path
        if not isinstance(source, Path):
            source = opened.enter_context(source())
        return opened.enter_context(self._arrow.parquet.ParquetFile(source, **options))

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
