"""Results that took long to measure, kept in a file, so that the next run resumes with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertqa.artifact import write_whole


def read_kept(path: Path, key: dict[str, Any]) -> dict[str, Any]:
    """Return the results that a file keeps, none where they were measured under another key.

    Args:
        path: The file, which may be missing or damaged.
        key: What they depend on.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(kept, dict) or kept.pop("key", None) != json.loads(json.dumps(key)):
        return {}
    return kept


def write_kept(path: Path, key: dict[str, Any], results: dict[str, Any]) -> None:
    """Keep results in a file, which is replaced whole.

    Args:
        path: The file.
        key: What they depend on.
        results: The results, as JSON has them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"key": key, **results}, indent=1))
