"""Durations as people write them."""

from __future__ import annotations

import re

from bertqa_cli.errors import CommandError, Status

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)?")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Read `90`, `90s`, `2m` or `1.5h`. Raises CommandError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise CommandError(
            f"The duration {text!r} cannot be read: write 90s, 2m or 1h.", status=Status.USAGE
        )
    return float(match[1]) * _SECONDS[match[2]]
