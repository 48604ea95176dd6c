"""Values of a row between formats."""

from __future__ import annotations

import base64
import json
import re
from contextlib import suppress
from typing import Any

_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def python_value(value: Any) -> Any:
    """Return a value of Python for a scalar of Arrow; any other value as it is.

    What Python has no value for becomes the text with which Arrow shows it. Bytes that are UTF-8
    become text: older programs write text without saying that it is.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    if not hasattr(value, "as_py"):
        return value
    try:
        return _text_of(value.as_py())
    except (OverflowError, ValueError):  # A year 300,000, an unknown time zone, a field twice.
        import pyarrow

        return str(pyarrow.array([value], value.type).to_string(skip_new_lines=True))[1:-1]


def as_plain(value: Any) -> Any:
    """Return a value for JSON: what is not of JSON's types becomes text, as NaN and infinity do.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    if value is None or isinstance(value, str | int):
        return value
    return json.loads(json.dumps(python_value(value), default=_shown), parse_constant=str)


def _text_of(value: Any) -> Any:
    """Return the text that bytes hold; anything else as it is."""
    if isinstance(value, bytes) and not _BINARY.search(value):
        with suppress(UnicodeDecodeError):
            return value.decode()
    return value


def _shown(value: Any) -> str:
    """Return a value that JSON lacks as text; other bytes are in Base64."""
    if isinstance(value, bytes):
        text = _text_of(value)
        return text if isinstance(text, str) else base64.b64encode(value).decode()
    return str(value)


def as_text(value: Any) -> str:
    """Return a value for a format that has text only; nothing is empty, the rest is as in JSON.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    plain = as_plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
