"""Reading the file of a data set: JSON, JSON Lines, both also with gzip, or Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertqa._data_files import GZIP_FAULTS, PARQUET_MAGIC, encoding_of, import_pyarrow, unpacked
from bertqa._reason import reason_of
from bertqa.errors import DataError

_LINES = (".jsonl", ".ndjson")


def load_document(path: Path) -> Any:
    """Return what a file of a data set holds.

    Args:
        path: The file.

    Returns:
        The JSON document, or a list of the records of JSON Lines or Parquet.

    Raises:
        DataError: It cannot be read, is damaged, or is none of these.
    """
    try:
        with path.open("rb") as raw:
            if raw.peek(4).startswith(PARQUET_MAGIC):
                return _parquet(path)
            with unpacked(raw, str(path)) as file:
                content = file.read()
    except FileNotFoundError as error:
        raise DataError(f"The file {path} does not exist.") from error
    except GZIP_FAULTS as error:
        raise DataError(
            f"{path} is damaged: its compressed data are cut short or changed ({error})."
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid JSON in UTF-8: {error}.") from error
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return _parse(text, path, is_lines=bool(suffixes) and suffixes[-1].lower() in _LINES)


def _parse(text: str, path: Path, *, is_lines: bool) -> Any:
    if is_lines:
        return _lines(text, path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:  # Whatever it is called.
            return _lines(text, path)
        raise DataError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON in UTF-8: {error}.") from error


def _lines(text: str, path: Path) -> Any:
    """Return the records, one a line; a line separator of Unicode may stand within one."""
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not valid JSON Lines: line {number}: {error}.") from error
    if len(records) == 1 and isinstance(records[0], dict) and "data" in records[0]:
        return records[0]
    return records


def _parquet(path: Path) -> list[Any]:
    arrow = import_pyarrow(str(path))
    try:
        return arrow.parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise DataError(
            f"{path} cannot be read as Parquet: it is damaged or cut short.",
            detail=reason_of(error),
        ) from error
