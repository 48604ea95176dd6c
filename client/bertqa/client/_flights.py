"""One fetch of what a version is, for all the questions of a client that need it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from bertqa.errors import (
    BertQAError,
    ClientStateError,
    DeadlineExceededError,
    ServerUnreachableError,
)

T = TypeVar("T")

# Two questions that were asked together have deadlines that differ by less, in seconds.
_TOGETHER = 1.0


class Flight(Generic[T]):
    """A fetch that is under way. It ends once, by `land`; nothing is kept of one that failed.

    Attributes:
        has_landed: Whether it is over.
    """

    def __init__(self, flights: Flights[T], version: int | None, deadline: float) -> None:
        self._flights = flights
        self._version = version
        self._deadline = deadline
        self._waiting: list[Callable[[], object]] = []
        self._outcome: T | BertQAError | None = None
        self._cancel: Callable[[], object] | None = None
        self.has_landed = False

    def outcome(self, deadline: float) -> T | BertQAError | None:
        """Return what a question that waited until now takes from the flight.

        Args:
            deadline: The deadline of the question.

        Returns:
            The result, an error that any question would have met, or None where another attempt
            may do better: the fetch was cancelled, or ended for lack of time.
        """
        if not isinstance(self._outcome, BertQAError):
            return self._outcome
        if isinstance(self._outcome, DeadlineExceededError | ClientStateError):
            return None
        # How long a server that is away is waited for depends on the deadline.
        has_longer = deadline > self._deadline + _TOGETHER
        if has_longer and isinstance(self._outcome, ServerUnreachableError):
            return None
        error = copy.copy(self._outcome)
        error.__cause__ = self._outcome.__cause__
        return error

    def land(self, outcome: T | BertQAError | None) -> None:
        """End the flight; the second time nothing happens.

        Args:
            outcome: The result or the error, None where the fetch was cancelled.
        """
        with self._flights.lock:
            if self.has_landed:
                return
            self._outcome = outcome
            self.has_landed = True
            self._flights.under_way.pop(self._version, None)
            waiting, self._waiting, self._cancel = self._waiting, [], None
        for wake in waiting:
            wake()

    def leave(self, wake: Callable[[], object]) -> None:
        """Wait no longer. A fetch that its own question has left too is cancelled then.

        Args:
            wake: What `Flights.join` was called with.
        """
        cancel = None
        with self._flights.lock:
            if wake in self._waiting:
                self._waiting.remove(wake)
            if not self._waiting:
                cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()

    def leave_to_others(self, cancel: Callable[[], object]) -> bool:
        """Leave the fetch to those who wait for it, if there are any.

        Args:
            cancel: Cancels the fetch; called when the last of them leaves.

        Returns:
            Whether there are any.
        """
        with self._flights.lock:
            if self.has_landed or not self._waiting:
                return False
            self._cancel = cancel
            return True


class Flights(Generic[T]):
    """The fetches that are under way, at most one for a version. Safe to use from several threads.

    Attributes:
        under_way: The flights by version.
        lock: Held while they change.
    """

    def __init__(self) -> None:
        self.under_way: dict[int | None, Flight[T]] = {}
        # A generator that the garbage collector closes may leave a flight at any point.
        self.lock = threading.RLock()

    def begin(self, version: int | None, deadline: float) -> Flight[T] | None:
        """Return a flight for the caller to fetch and to land, None where one is under way.

        Args:
            version: The version; None is the server's default.
            deadline: When the caller gives up, a time of `time.monotonic()`.
        """
        with self.lock:
            if version in self.under_way:
                return None
            flight = self.under_way[version] = Flight(self, version, deadline)
            return flight

    def join(self, version: int | None, wake: Callable[[], object]) -> Flight[T] | None:
        """Return the flight that is under way, None where there is none.

        Args:
            version: The version; None is the server's default.
            wake: Called when it has landed, from any thread. It must not block.
        """
        with self.lock:
            flight = self.under_way.get(version)
            if flight is not None:
                flight._waiting.append(wake)
            return flight
