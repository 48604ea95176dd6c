"""Values of a row between formats."""

from __future__ import annotations

import json
from typing import Any


def python_value(value: Any) -> Any:
    """Return a value of Python for a scalar of Arrow; any other value as it is.

    What Python has no value for becomes the text with which Arrow shows it.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    if not hasattr(value, "as_py"):
        return value
    try:
        return value.as_py()
    except (OverflowError, ValueError):  # A year 300,000, an unknown time zone, a field twice.
        import pyarrow

        return str(pyarrow.array([value], value.type).to_string(skip_new_lines=True))[1:-1]


def as_plain(value: Any) -> Any:
    """Return a value for JSON: what is not of JSON's types becomes text.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    if not hasattr(value, "as_py"):
        return value
    return json.loads(json.dumps(python_value(value), default=str))


def as_text(value: Any) -> str:
    """Return a value for a format that has text only; nothing is empty, the rest is as in JSON.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    plain = as_plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
