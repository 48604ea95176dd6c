"""How many requests a process takes at once: those beyond are refused, not kept waiting."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bertqa_serve.http_api.problems import UNAVAILABLE, Problem

# How much the last answer counts for the mean.
_WEIGHT = 0.05
_LONGEST_RETRY_SECONDS = 60.0


class Admission:
    """A bounded number of places.

    Args:
        places: How many requests are answered or wait at once.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self._ended_at = time.monotonic()
        self._pace = 0.0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for the block.

        Raises:
            Problem: All places are taken.
        """
        if self.taken >= self.places:
            raise Problem(
                UNAVAILABLE,
                f"{self.taken} requests are answered or wait already: try again later.",
                retry_after=self.retry_after(),
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
            self._note_end()

    def retry_after(self) -> float:
        """Return the seconds after which half of what waits now is answered, at the pace of now."""
        return min(max(math.ceil(self._pace * self.taken / 2), 1), _LONGEST_RETRY_SECONDS)

    def _note_end(self) -> None:
        now = time.monotonic()
        seconds, self._ended_at = now - self._ended_at, now
        self._pace += _WEIGHT * (seconds - self._pace)
