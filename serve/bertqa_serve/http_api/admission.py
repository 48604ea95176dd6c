"""How many requests a process takes at once: those beyond are refused, not kept waiting."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bertqa._checks import shown
from bertqa_serve.http_api.problems import UNAVAILABLE, Problem

# How much the last answer counts for the mean.
_WEIGHT = 0.05
_LONGEST_RETRY_SECONDS = 60.0


class Place:
    """The place of one request.

    Args:
        admission: What it is a place of.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._model: str | None = None

    def take_for(self, model: str) -> None:
        """Count the request as one to a model beside the default one.

        Such a model may take half of the places: where it does not answer, the others do.

        Args:
            model: Its name.

        Raises:
            Problem: Half of the places are taken for it.
        """
        taken = self._admission.by_model
        if taken[model] >= max(self._admission.places // 2, 1):
            raise self._admission.full(f"{taken[model]} requests to model {shown(model)}")
        taken[model] += 1
        self._model = model

    def leave(self) -> None:
        """Let the next request to the model have the place."""
        if self._model is None:
            return
        taken = self._admission.by_model
        taken[self._model] -= 1
        if not taken[self._model]:
            del taken[self._model]


class Admission:
    """A bounded number of places.

    Args:
        places: How many requests are answered or wait at once.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self.by_model = Counter[str]()
        self._ended_at = time.monotonic()
        self._pace = 0.0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Take a place for the block.

        Yields:
            The place, which can be one for a model.

        Raises:
            Problem: All places are taken.
        """
        if self.taken >= self.places:
            raise self.full(f"{self.taken} requests")
        self.taken += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()
            self.taken -= 1
            self._note_end()

    def full(self, taken: str) -> Problem:
        """Return the response to a request for which there is no place.

        Args:
            taken: What has the places.
        """
        return Problem(
            UNAVAILABLE,
            f"{taken} are answered or wait already: try again later.",
            retry_after=self.retry_after(),
        )

    def retry_after(self) -> float:
        """Return the seconds after which half of what waits now is answered, at the pace of now."""
        return min(max(math.ceil(self._pace * self.taken / 2), 1), _LONGEST_RETRY_SECONDS)

    def _note_end(self) -> None:
        now = time.monotonic()
        seconds, self._ended_at = now - self._ended_at, now
        self._pace += _WEIGHT * (seconds - self._pace)
