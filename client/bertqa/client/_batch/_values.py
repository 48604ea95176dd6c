"""Values of a row between formats."""

from __future__ import annotations

import json
from typing import Any


def as_plain(value: Any) -> Any:
    """Return a value for JSON: what is not of JSON's types becomes text.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    scalar = getattr(value, "as_py", None)
    return value if scalar is None else json.loads(json.dumps(scalar(), default=str))


def as_text(value: Any) -> str:
    """Return a value for a format that has text only; nothing is empty, the rest is as in JSON.

    Args:
        value: A value of JSON, or a scalar of Arrow.
    """
    plain = as_plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
