"""Writing Parquet; columns that are not plain pass through as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Any

from bertqa._data_files import as_text, import_pyarrow

_BATCH = 1024
_INT64 = 2**63


class ColumnTypes:
    """The types of columns of JSON, which the values of all rows decide."""

    def __init__(self) -> None:
        self._kinds: dict[str, set[str]] = {}
        # Columns with a whole number that no double holds.
        self._wide: set[str] = set()

    def observe(self, values: Mapping[str, Any]) -> None:
        """Take the values of one row into account.

        Args:
            values: Its values by column.
        """
        for name, value in values.items():
            kinds = self._kinds.setdefault(name, set())
            if value is not None:
                kinds.add(_kind(value))
                if _is_inexact(value):
                    self._wide.add(name)

    def of(self, name: str) -> str:
        """Return the type of a column as Arrow names it; what differs from row to row is text.

        Args:
            name: The column.
        """
        match sorted(self._kinds.get(name, ())):
            case [kind]:
                return kind
            case ["double", "int64"] if name not in self._wide:
                return "double"
        return "string"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -_INT64 <= value < _INT64 else "string"
    return "double" if isinstance(value, float) else "string"


def _is_inexact(value: Any) -> bool:
    """Return whether a value is a whole number that no double holds."""
    return _kind(value) == "int64" and int(float(value)) != value


class ParquetWriter:
    """Writes rows as Parquet.

    Args:
        file: Where to write; it is not closed.
        kept: The names of the input's columns.
        own: The names of the answer's columns.
        types: The schema of the input where that is Parquet, else the types of its columns.
    """

    def __init__(
        self, file: IO[bytes], kept: Sequence[str], own: Sequence[str], types: Any
    ) -> None:
        arrow = self._arrow = import_pyarrow("The output")
        fields = [
            (name, arrow.type_for_alias(types.of(name)))
            if isinstance(types, ColumnTypes)
            else types.field(name)
            for name in kept
        ]
        fields += [(name, arrow.type_for_alias(_OWN_TYPES[name])) for name in own]
        self._schema = arrow.schema(fields)
        self._rows: list[Mapping[str, Any]] = []
        self._writer = arrow.parquet.ParquetWriter(arrow.PythonFile(file, "w"), self._schema)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Args:
            row: Its values by column; a column that is missing is null.
        """
        self._rows.append(row)
        if len(self._rows) == _BATCH:
            self._write_batch()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._write_batch()
        self._writer.close()

    def _write_batch(self) -> None:
        if not self._rows:
            return
        types = self._arrow.types
        arrays = [
            self._arrow.array(
                [_fitting(row.get(field.name), field.type, types) for row in self._rows], field.type
            )
            for field in self._schema
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []


_OWN_TYPES = {
    "rank": "int64",
    "answer": "string",
    "start": "int64",
    "end": "int64",
    "score": "double",
    "model_version": "int64",
    "error": "string",
}


def _fitting(value: Any, kind: Any, types: Any) -> Any:
    """Return a value of JSON for a column; where that is of text, as text without surrogates."""
    if value is None or hasattr(value, "as_py"):
        return value
    if types.is_string(kind):
        return as_text(value).encode("utf-8", "backslashreplace").decode()
    return float(value) if types.is_float64(kind) else value
