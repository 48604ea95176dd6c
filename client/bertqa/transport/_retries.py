"""When a call that reached no server is repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from bertqa import _defaults


def service_config(*, round_robin: bool, repeats: bool = True) -> dict[str, object]:
    """Return a gRPC service config: the channel repeats calls that are UNAVAILABLE, with jitter.

    Args:
        round_robin: Whether to balance calls over all addresses of the name.
        repeats: Whether to repeat calls at all.

    Returns:
        The config, ready for JSON.
    """
    config: dict[str, object] = {}
    if repeats:
        config["methodConfig"] = [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": _defaults.ATTEMPTS,
                    "initialBackoff": f"{_defaults.BACKOFF_SECONDS}s",
                    "maxBackoff": f"{_defaults.BACKOFF_LIMIT_SECONDS}s",
                    "backoffMultiplier": _defaults.BACKOFF_FACTOR,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    if round_robin:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    return config


def pauses(deadline: float, *, patient: bool) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt: exponential backoff with jitter.

    Args:
        deadline: A time of `time.monotonic()` that no pause reaches.
        patient: Whether to repeat until the deadline; otherwise the number of attempts is that of
            a first contact.

    Yields:
        The next pause, in seconds.
    """
    pause = _defaults.BACKOFF_SECONDS
    attempt = 1
    while patient or attempt < _defaults.ATTEMPTS:
        attempt += 1
        jittered = pause * random.uniform(0.8, 1.2)
        if time.monotonic() + jittered >= deadline:
            return
        yield jittered
        pause = min(pause * _defaults.BACKOFF_FACTOR, _defaults.BACKOFF_LIMIT_SECONDS)
