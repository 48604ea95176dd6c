"""Checks of what users pass: what is meant plainly is taken, anything else is refused.

Each check takes the name of an option and its value, and returns the value in the type that the
rest of the code relies on: "2", 2.0 and `numpy.int64(2)` become 2.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from bertqa._reason import reason_of
from bertqa.errors import InvalidOptionError

T = TypeVar("T")
Check = Callable[[str, Any], T]

# Sizes and counts fit 32 bits, versions the 64 of the server.
MOST: Final = 2**31 - 1
MOST_VERSION: Final = 2**63 - 1
# More than sockets, threads and gRPC can all wait for: it stands for "no limit".
NO_LIMIT_SECONDS: Final = 24 * 24 * 3600.0

_WHOLE = re.compile(r"[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,19})?", re.ASCII)
_SHOWN = 80
# The name of a model is a part of URLs, where these would lead elsewhere.
_DIRECTORIES = (".", "..")
_LONGEST_NAME = 1024
# Read as UTF-8; the others, of UTF-16 and UTF-32, are bytes that are none.
_BYTE_ORDER_MARKS = ("\ufeff", "\udcff\udcfe", "\udcfe\udcff")


def refused(name: str, value: object, allowed: str) -> InvalidOptionError:
    """Return the error for a value that is not valid.

    Args:
        name: The name of the option.
        value: What was passed.
        allowed: What it has to be.
    """
    return InvalidOptionError(f"{name} is {shown(value)}, but it has to be {allowed}.")


def shown(value: object) -> str:
    """Return a value for a message: short, printable, and whatever its `repr` does."""
    try:
        text = repr(value)
    except Exception:  # That of Python itself raises ValueError for a number of 5,000 digits.
        return f"a value of type {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def whole(least: int, most: int = MOST) -> Check[int]:
    """Return the check of a whole number.

    Args:
        least: The least value.
        most: The greatest value.
    """

    def check(name: str, value: Any) -> int:
        number = value if type(value) is int else _whole(value)
        if number is None or not least <= number <= most:
            raise refused(name, value, f"a whole number from {least} to {most}")
        return number

    return check


def real(least: float, most: float = math.inf) -> Check[float]:
    """Return the check of a finite number.

    Args:
        least: The least value.
        most: The greatest value.
    """
    upper = "" if most == math.inf else f" to {most:g}"
    lower = "" if least == -math.inf else f" from {least:g}" + (upper or " on")

    def check(name: str, value: Any) -> float:
        number = _real(value)
        if number is None or not (math.isfinite(number) and least <= number <= most):
            raise refused(name, value, f"a finite number{lower}")
        return number

    return check


def seconds(name: str, value: Any) -> float:
    """Check a timeout.

    Args:
        name: The name of the option.
        value: Seconds above 0. None, and what no transport can hold, mean no limit.

    Returns:
        The seconds, `NO_LIMIT_SECONDS` at most.

    Raises:
        InvalidOptionError: It is something else.
    """
    if value is None:
        return NO_LIMIT_SECONDS
    number = value if type(value) is float else _real(value)
    if number is None or not number > 0:
        raise refused(name, value, "a number of seconds above 0, or None for no limit")
    return min(number, NO_LIMIT_SECONDS)


def flag(name: str, value: Any) -> bool:
    """Check a choice between True and False.

    Args:
        name: The name of the option.
        value: One of them, or 1 or 0.

    Returns:
        The choice.

    Raises:
        InvalidOptionError: It is something else.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    number = None if isinstance(value, str) else _whole(value)
    if number not in (0, 1):
        raise refused(name, value, "True or False")
    return bool(number)


def text(name: str, value: Any) -> str:
    """Check a text.

    Args:
        name: The name of the option.
        value: A text of at least one character, all of which can be printed.

    Returns:
        The text.

    Raises:
        InvalidOptionError: It is something else.
    """
    if isinstance(value, str) and value.startswith(_BYTE_ORDER_MARKS):
        raise refused(name, value, "a text without the byte order mark of a file")
    if not isinstance(value, str) or not value or not str.isprintable(value):
        raise refused(name, value, "a text of printable characters")
    return plain(value)


def model_name(name: str, value: Any) -> str:
    """Check the name of a model on a server.

    Args:
        name: The name of the option.
        value: A text of printable characters that can be a part of a URL.

    Returns:
        The text.

    Raises:
        InvalidOptionError: It is something else.
    """
    if not (isinstance(value, str) and value and str.isprintable(value)) or value in _DIRECTORIES:
        allowed = "the name of a model: a text of printable characters, other than '.' and '..'"
        raise refused(name, value, allowed)
    if len(value) > _LONGEST_NAME:
        raise refused(name, value, f"the name of a model, of at most {_LONGEST_NAME} characters")
    return plain(value)


def plain(value: str) -> str:
    """Return a text as a `str` itself, whatever subclass it is of."""
    return value if type(value) is str else str.__str__(value)


def path(name: str, value: Any) -> Path:
    """Check a path.

    Args:
        name: The name of the option.
        value: A path, or the text of one.

    Returns:
        The path.

    Raises:
        InvalidOptionError: It is something else.
    """
    try:
        found = os.fspath(value)
        if not isinstance(found, str) or not found:
            raise TypeError
    except Exception:  # An object may have a method __fspath__ that raises anything.
        raise refused(name, value, "a path as str or pathlib.Path") from None
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(found)
    except (OSError, ValueError) as error:  # It is too long, or has a null character.
        raise InvalidOptionError(
            f"{name} is {shown(value)}, which cannot be a path: {reason_of(error)}."
        ) from error
    return Path(found)


def items(name: str, value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Return the items of a mapping.

    Args:
        name: The name of the option.
        value: The mapping.

    Raises:
        InvalidOptionError: It cannot be read.
    """
    try:
        return [(key, each) for key, each in value.items()]
    except Exception as error:  # Its methods may raise anything.
        raise InvalidOptionError(f"{name} cannot be read: {type(error).__name__}.") from error


def optional(check: Check[T]) -> Check[T | None]:
    """Return the check that takes None as well.

    Args:
        check: The check of other values.
    """
    return lambda name, value: None if value is None else check(name, value)


def default(check: Check[T], otherwise: T) -> Check[T]:
    """Return the check that takes None for a default.

    Args:
        check: The check of other values.
        otherwise: The default.
    """
    return lambda name, value: otherwise if value is None else check(name, value)


def function(name: str, value: Any) -> Any:
    """Check something that can be called.

    Args:
        name: The name of the option.
        value: A function, say.

    Returns:
        The same.

    Raises:
        InvalidOptionError: It is something else.
    """
    if not callable(value):
        raise refused(name, value, "a function")
    return value


def instance(of: type[T]) -> Check[T]:
    """Return the check of an object of a class."""

    def check(name: str, value: Any) -> T:
        if not isinstance(value, of):
            raise refused(name, value, f"of type {of.__name__}")
        return value

    return check


version: Check[int] = whole(1, MOST_VERSION)


def _whole(value: Any) -> int | None:
    """Return the whole number that is meant, None where it is none, or beyond all limits."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value) if _WHOLE.fullmatch(value) else None
    if not _is_number(value):
        return None
    try:
        # First the size: a decimal may stand for a number of a billion digits.
        number = int(value) if -MOST_VERSION <= value <= MOST_VERSION else None
        return number if number == value else None
    except (ArithmeticError, TypeError, ValueError):
        return None


def _real(value: Any) -> float | None:
    """Return the number that is meant, None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return float(value) if _DECIMAL.fullmatch(value) else None
    if not _is_number(value):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (ArithmeticError, TypeError, ValueError):
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, Real | Decimal)
