"""What the chart takes for values that are null, as far as a rollout reads them."""

from __future__ import annotations

import copy
from typing import Any

# The version of a track that follows the newest one.
LATEST = "latest"

_DEFAULTS = {
    "model": {"name": "bert-qa", "storage": {"uri": ""}},
    "tracks": {"stable": {"version": LATEST, "weight": 100, "replicas": 2}},
    "httpApi": {"enabled": True},
}


def with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a release with what the chart takes for those that are null.

    Helm leaves out a key that is null, and a section with all of its keys.

    Args:
        values: All values of the release, as Helm has them.
    """
    return _filled(values, _DEFAULTS)


def _filled(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    filled = {name: value for name, value in values.items() if value is not None}
    for name, default in defaults.items():
        given = filled.get(name)
        if given is None:
            filled[name] = copy.deepcopy(default)
        elif name != "tracks" and isinstance(default, dict):
            filled[name] = _filled(given, default)
    return filled
