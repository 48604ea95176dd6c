"""Parsing JSON such that nothing is lost in silence, and every fault has its line."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9][0-9.eE+-]*|[\[\]{},]', re.DOTALL)
_SHOWN = 40
_DEEPEST = 200


class JsonError(ValueError):
    """Why a text is not read.

    Attributes:
        problem: What is wrong, as the end of a sentence whose subject is the text.
        line: The line that it is in, from 1 on.
        column: The column, from 1 on.
        has_more: Whether what is wrong is only that there is more after a whole document.
    """

    def __init__(self, problem: str, text: str, position: int, *, has_more: bool = False) -> None:
        self.problem = problem
        self.line = text.count("\n", 0, position) + 1
        self.column = position - text.rfind("\n", 0, position)
        self.has_more = has_more
        super().__init__(f"{problem} at line {self.line}, column {self.column}")


def _fault(problem: str, text: str, position: int) -> JsonError:
    return JsonError(problem, text, position)


def parsed(text: str) -> Any:
    """Return what JSON stands for.

    Args:
        text: JSON; `NaN` and `Infinity` are numbers, as Python writes them.

    Raises:
        JsonError: It is not valid, repeats a key in an object, has a number that no double or
            integer of Python holds, or is nested more deeply than Python reads.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        problem = f"is not valid JSON: {error.msg}"
        has_more = error.msg == "Extra data"
        raise JsonError(problem, text, error.pos, has_more=has_more) from error
    except RecursionError as error:
        raise _fault("is nested too deeply", text, _nesting(text)[1]) from error
    except ValueError as error:
        raise next(_faults(text)) from error


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError
    return values


_DECODER = json.JSONDecoder(parse_float=_float, object_pairs_hook=_object)


def _faults(text: str) -> Iterator[JsonError]:
    """Yield what the parser refuses besides what is not valid, with its place."""
    keys: list[set[str] | None] = []
    is_key = False
    for found in _TOKEN.finditer(text):
        token, position = found[0], found.start()
        if token in "[{":
            keys.append(set() if token == "{" else None)
        elif token in "]}":
            keys.pop()
        elif token.startswith('"') and is_key and keys[-1] is not None:
            key = json.loads(token, strict=False)
            if key in keys[-1]:
                yield _fault(f"has the key {_short(key)!r} twice", text, position)
            keys[-1].add(key)
        elif token != "," and not token.startswith('"'):
            yield from _faults_of_number(token, text, position)
        is_key = token in "{,"


def _faults_of_number(token: str, text: str, position: int) -> Iterator[JsonError]:
    if token.lstrip("-").isdecimal():
        most = sys.get_int_max_str_digits()
        if 0 < most < len(token.lstrip("-")):
            yield _fault(f"has a number of more than {most} digits", text, position)
    elif math.isinf(float(token)):
        yield _fault(f"has the number {_short(token)}, which no double holds,", text, position)


def _short(token: str) -> str:
    return token if len(token) <= _SHOWN else f"{token[:_SHOWN]}..."


def is_deep(text: str) -> bool:
    """Return whether JSON is nested more deeply than all code reads that it passes through.

    Python's own limit depends on how deep the call is, so that what was read may not be written.

    Args:
        text: JSON.
    """
    return text.count("[") + text.count("{") > _DEEPEST and _nesting(text)[0] > _DEEPEST


def _nesting(text: str) -> tuple[int, int]:
    """Return how deep JSON is, and where the first of its innermost arrays and objects begins."""
    depth = deepest = place = 0
    for found in _TOKEN.finditer(text):
        if found[0] in "[{":
            depth += 1
            if depth > deepest:
                deepest, place = depth, found.start()
        elif found[0] in "]}":
            depth -= 1
    return deepest, place
