"""The gold answers of a question, in each of the forms in which data have them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bertqa._data_files import Fields, find

ANSWERS = "answers"
# The columns of tables with one answer a row, by what they hold, the best name first.
TEXT = ("answer", "answer_text")
START = ("answer_start", "start")
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.0+)?", re.ASCII)
# What str() makes of a dictionary, or of a list of them, also of NumPy's arrays.
_PYTHON = re.compile(r"\s*(?:\[|array\(|\s)*\{\s*'(?:text|answer_start)'\s*:")
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": None}


@dataclass(frozen=True, slots=True)
class GoldAnswer:
    """A right answer: `context[start:start + len(text)] == text`, in characters."""

    text: str
    start: int


def column(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """Return the first of several columns that a record has, None where it has none.

    Args:
        values: The record's values by the names of its columns.
        names: The columns to look for, in any case, best first.
    """
    present = [*values]
    return next((found for name in names if (found := find(present, name)) is not None), None)


def given_answers(
    fields: Fields, values: Mapping[str, Any], place: str, *, may_lack: bool
) -> list[Any]:
    """Return the answers of a record one by one, not yet checked.

    Args:
        fields: Refuses what is not right.
        values: The record's values by the names of its columns.
        place: Where it is.
        may_lack: Whether it says that it has no answer.

    Returns:
        Objects with `text` and `answer_start`, which is None where a table has none.

    Raises:
        DataError: The answers are in no known form.
    """
    name = column(values, (ANSWERS,))
    value = None if name is None else values[name]
    if isinstance(value, str):
        if _PYTHON.match(value):
            raise fields.error(
                place,
                f"{ANSWERS} is written as Python shows it and has to be JSON, as json.dumps writes "
                '{"text": ["Anna"], "answer_start": [0]}',
            )
        value = _parsed(value)
    text = column(values, TEXT) if name is None else None
    if text is not None or isinstance(value, str):
        start = column(values, START)
        return _one(values[text] if text else value, values[start] if start else None)
    if may_lack and value is None:
        return []
    if name is None:
        fields.value(values, ANSWERS, place)
    if value is None:
        raise fields.error(place, f"{ANSWERS} is null and should be a list: [] means no answer")
    held = {ANSWERS: value}
    if not isinstance(value, dict):
        return fields.list(held, ANSWERS, place)
    texts = fields.list(value, "text", f"{place}.answers")
    starts = fields.list(value, "answer_start", f"{place}.answers")
    if len(texts) != len(starts):
        raise fields.error(
            f"{place}.answers", f"{len(texts)} texts have {len(starts)} values of answer_start"
        )
    return [
        {"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)
    ]


def truth(value: Any) -> Any:
    """Return what a table's text says that is true or false; any other value as it is.

    Args:
        value: A value of a record.
    """
    return _TRUTHS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _parsed(cell: str) -> Any:
    """Return the JSON that a cell of a table holds, or the cell."""
    if cell.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return json.loads(cell)
    return cell


def _one(text: Any, start: Any) -> list[Any]:
    """Return the answer of a row of a table, which is empty where there is none."""
    if text is None or text != text or text == "":  # A gap may be a NaN.
        return []
    if isinstance(start, str):
        number = start.strip()
        start = int(float(number)) if _NUMBER.fullmatch(number) else (start or None)
    return [{"text": text, "answer_start": None if start != start else start}]
