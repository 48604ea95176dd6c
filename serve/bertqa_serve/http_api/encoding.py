"""Values as the JSON that is sent."""

from __future__ import annotations

import json


def json_line(value: object) -> bytes:
    """Return a line of JSON, with its end.

    Args:
        value: What it says.
    """
    # A lone surrogate, as a message may quote one, stays an escape of JSON.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
    return text.encode("utf-8", "backslashreplace")
