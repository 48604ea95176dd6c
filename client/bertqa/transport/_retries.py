"""When a call that reached no server, or was refused by it, is repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from bertqa import _defaults

# Beyond these the pause is at its limit anyway, and the power would grow without end.
_BACKOFF_STEPS = 16


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


def searches(seconds: float, attempts: int = _defaults.SEARCHES) -> Iterator[float]:
    """Yield the seconds to wait before each further attempt to find the server that has a version.

    Behind one address servers may have different versions, and each connection leads to one.

    Args:
        seconds: How long to search at most.
        attempts: How often to try again at most.

    Yields:
        The next pause, in seconds.
    """
    end = time.monotonic() + seconds
    for _ in range(attempts):
        if time.monotonic() >= end:
            return
        yield _defaults.SEARCH_PAUSE_SECONDS * random.uniform(0.5, 1.5)


def pause_after_refusal(times: int, left: float, retry_after: float | None) -> float | None:
    """Return the seconds to wait before a request that a server refused is sent again.

    The backoff is exponential, with more jitter than `pauses` has: what was refused together must
    not come back together. It becomes shorter near the deadline, which is used to its end.

    Args:
        times: How often the request was refused, from 1 on.
        left: Seconds until the deadline.
        retry_after: How many seconds the server asks to wait at least, where it says so.

    Returns:
        The pause, or None where no time is left for another attempt.
    """
    steps = min(times - 1, _BACKOFF_STEPS)
    longest = _defaults.BACKOFF_SECONDS * float(_defaults.BACKOFF_FACTOR) ** steps
    pause = min(longest, _defaults.BACKOFF_LIMIT_SECONDS) * random.uniform(0.5, 1.5)
    if retry_after:
        pause = max(pause, retry_after * random.uniform(1.0, 1.2))
        return pause if pause < left else None
    if left < 2 * _defaults.BACKOFF_SECONDS:
        return None
    return min(pause, left / 2)
