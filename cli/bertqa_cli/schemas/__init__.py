"""The JSON Schemas of what each verb prints with --json.

Each verb has a file. What several documents have is in `parts.json`; `schema_of` puts it into the
schema, so that a validator needs one file alone.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from importlib import resources
from typing import Any

from bertqa_cli.errors import CommandError, Status

VERSION, ERROR = "version", "error"
"""What is named in place of a verb: `bert-qa --version --json`, and the error of every verb."""

_SUFFIX = ".json"
_PARTS = "parts"
_PART = re.compile(r'"#/\$defs/(\w+)"')


def names() -> list[str]:
    """Return what has a schema: the verbs as they are typed, and `VERSION` and `ERROR`."""
    files = (each.name for each in resources.files(__name__).iterdir())
    found = {name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)}
    return sorted({_typed(name) for name in found - {_PARTS}} | {ERROR})


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of what a verb prints with --json, an error included.

    Args:
        name: One of `names()`.

    Returns:
        The schema, in which each reference is to a part of itself.

    Raises:
        CommandError: There is none of that name.
    """
    known = names()
    if name not in known:
        meant = get_close_matches(name, known)
        hint = f" Did you mean {' or '.join(map(repr, meant))}?" if meant else ""
        raise CommandError(
            f"No verb with --json is called {name!r}.{hint} Choose one of {', '.join(known)}.",
            status=Status.USAGE,
        )
    parts = json.loads(_text(_PARTS))
    error = {"title": "An error", "$ref": f"#/$defs/{ERROR}", "unevaluatedProperties": False}
    if name == ERROR:
        found = {"$schema": parts["$schema"], **error}
    else:
        found = json.loads(_text(name).replace(f"{_PARTS}{_SUFFIX}#", "#"))
        found["anyOf"].append(error)
    return {**found, "$defs": _used(found, parts["$defs"])}


def _used(schema: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that a schema refers to, and those that they refer to."""
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for part in _PART.findall(json.dumps(waiting.pop())):
            if part not in found:
                found[part] = parts[part]
                waiting.append(parts[part])
    return dict(sorted(found.items()))


def _text(name: str) -> str:
    file = resources.files(__name__) / f"{name.replace(' ', '-')}{_SUFFIX}"
    return file.read_text(encoding="utf-8")


def _typed(file: str) -> str:
    """Return the verb of a file, such as `bench latency-table`, whose parts may have a hyphen."""
    verb, _, below = file.partition("-")
    return f"{verb} {below}".rstrip()
