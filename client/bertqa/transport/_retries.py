"""How often, and when, a call is tried again where no one could be reached."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from bertqa import _defaults


def service_config(*, round_robin: bool) -> dict[str, object]:
    """Return gRPC's service config: it retries by itself, on UNAVAILABLE alone, with jitter."""
    config: dict[str, object] = {
        "methodConfig": [
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
    }
    if round_robin:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
    return config


def pauses(deadline: float, *, patient: bool) -> Iterator[float]:
    """Return the seconds to wait before each further attempt, as gRPC does it, for other protocols.

    Ends with the attempts that a first contact has, or, if `patient`, before the deadline, a time
    of `time.monotonic()`.
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
