"""Values of odd types and sizes, and some that fail whatever is done with them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


class Text(str):
    """A text of a subclass, which is shown in a way of its own."""

    def __str__(self) -> str:
        return "something else"


class Named(StrEnum):
    TWO = "2"


class Nasty:
    """Fails whatever is done with it."""

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")

    def __index__(self) -> int:
        raise RuntimeError("index")

    def __float__(self) -> float:
        raise RuntimeError("float")

    def __fspath__(self) -> str:
        raise RuntimeError("fspath")

    __hash__ = None  # type: ignore[assignment]


class NastyPairs(list[Any]):
    """Cannot be iterated over."""

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("iter")


class NastyMapping(dict[Any, Any]):
    """Cannot be read."""

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("iter")

    def keys(self) -> Any:
        raise RuntimeError("keys")

    def items(self) -> Any:
        raise RuntimeError("items")


ODD = [
    None,
    True,
    False,
    np.bool_(True),
    0,
    -1,
    2,
    2.0,
    2.5,
    "2",
    Text("2"),
    Named.TWO,
    np.int64(2),
    np.float32(2),
    Decimal(2),
    Fraction(2),
    Fraction(1, 3),
    2**31,
    2**63,
    10**5000,
    -(10**5000),
    1e300,
    -1e300,
    5e-324,
    float("inf"),
    -float("inf"),
    float("nan"),
    np.float64("nan"),
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"),
    Decimal("1e1000000"),
    2j,
    "",
    " 2",
    "+2",
    "2_0",
    "２",
    "-2",
    "1e3",
    "nan",
    "9" * 5000,
    "two",
    "\0",
    "a\nb",
    "\ud800",
    b"2",
    bytearray(b"2"),
    memoryview(b"2"),
    [],
    [2],
    (2, 3),
    {},
    {"a": 1},
    {2},
    np.array([2, 3]),
    np.array(2),
    range(2),
    object(),
    Nasty(),
    Nasty,
    NastyPairs([1, 2]),
    NastyMapping({1: 2}),
    {"a" * 5000: "b" * 5000},
    {"a": 10**5000},
    "a" * 5000,
    "http://localhost/" + "a" * 5000,
    "a/" * 2500,
    Path("a" * 5000),
    Path("a/" * 2000),
    len,
    lambda *_: 1 / 0,
    Path("/no/such/file"),
    ...,
    NotImplemented,
]
