"""How many requests a client has on their way, without any input or output."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum, auto

from bertqa import _defaults
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ServerOverloadedError,
    ServerUnreachableError,
)


class Verdict(Enum):
    """What the end of a request says about the load of the server."""

    QUICK = auto()
    SLOW = auto()
    REFUSED = auto()
    NOTHING = auto()


# How many times the usual time an answer takes at most that raises the limit, or how many seconds.
_USUAL_TIMES = 10.0
_USUAL_SECONDS = 0.1
_WEIGHT_OF_LAST = 0.1
# The part of the limit that is kept.
_KEPT = {Verdict.REFUSED: 0.5, Verdict.SLOW: 0.75}


def verdict(response: object, seconds: float, timeout: float) -> Verdict:
    """Return what the end of a request says about the load of the server.

    Args:
        response: The result of the request, or the error that it ended with.
        seconds: How long it took.
        timeout: How long it might have taken.
    """
    if isinstance(response, ServerOverloadedError):
        return Verdict.REFUSED
    if isinstance(response, DeadlineExceededError | ServerUnreachableError):
        return Verdict.SLOW
    if isinstance(response, BertQAError):
        return Verdict.NOTHING
    is_quick = seconds < timeout * _defaults.SOON_PART_OF_TIMEOUT
    return Verdict.QUICK if is_quick else Verdict.SLOW


class Slot:
    """The right to have one request on its way; it is waited for, held, and released.

    Attributes:
        wake: Called once, when the slot is held after it was waited for.
        version: The version that the request names.
        is_held: Whether the request may be sent.
        era: How often the limit had been cut when the slot was granted.
    """

    __slots__ = ("era", "is_held", "version", "wake")

    def __init__(self, wake: Callable[[], object], version: int | None) -> None:
        self.wake = wake
        self.version = version
        self.is_held = False
        self.era = 0


class Hold:
    """The slot of one request that is on its way, which is let go while the request pauses.

    Args:
        limit: What granted the slot.
        slot: The slot.

    Attributes:
        paused_at: When the request paused first, a time of `time.monotonic()`; None where it has
            not.
    """

    def __init__(self, limit: ConcurrencyLimit, slot: Slot) -> None:
        self._limit = limit
        self._slot = slot
        self.paused_at: float | None = None
        self._since = time.monotonic()
        self._is_over = False

    def pause(self) -> None:
        """Let the slot go: nothing is on its way for a while."""
        if self.paused_at is None:
            self.paused_at = time.monotonic()
        self._limit.release(self._slot)

    def resume(self, wake: Callable[[], object]) -> bool:
        """Request a slot again.

        Args:
            wake: Called when it is held, unless it is so at once. It must not block.

        Returns:
            Whether there is nothing to wait for: it is held at once, or the request is over.
        """
        self._slot = slot = self._limit.request(wake, self._slot.version)
        if self._is_over:
            self._limit.release(slot)
        return slot.is_held or self._is_over

    @property
    def is_over(self) -> bool:
        """Whether the request has ended, or was given up."""
        return self._is_over

    def resumed(self) -> None:
        """Note that the request is on its way again."""
        self._since = time.monotonic()

    def release(self, response: object = None, timeout: float = 0.0) -> None:
        """Release the slot for good; the second time nothing happens.

        Args:
            response: What the request ended with, None where it was given up.
            timeout: How long it might have taken.
        """
        self._is_over = True
        ending, seconds = Verdict.NOTHING, time.monotonic() - self._since
        if response is not None:
            ending = verdict(response, seconds, timeout)
        has_paused = self.paused_at is not None
        if ending is Verdict.QUICK and (has_paused or not self._limit.is_usual(seconds)):
            # What it waited for says nothing about how much the server can take.
            ending = Verdict.NOTHING
        slot, was_held = self._slot, self._slot.is_held
        self._limit.release(slot, ending)
        if not was_held:
            slot.wake()  # It may be waited for in another thread.


class ConcurrencyLimit:
    """The number of requests that a client may have on their way, adapted to the server.

    All questions and streams of a client share it, first come, first served. It grows by additive
    increase and shrinks by multiplicative decrease, as TCP's congestion window does, so that
    several clients of one server come to equal shares:

    - As long as it was never lowered, each quick answer raises it by one; afterwards a whole
      limit's worth of quick answers does. It is raised only while all of it is in use.
    - A refusal halves it at once; a slow answer, a lost connection or a missed deadline takes a
      quarter of it. The ends of requests that were sent before that are not counted again.
    - An answer that took far longer than usual was waited for, as by requests for a version that
      is loading, or for a server that is started anew; it raises nothing.

    Each version may have one request on its way even where others use up the limit, so that
    requests which wait for one version hold up no other.

    It is safe to use from several threads.

    Args:
        at_first: The limit at first.
        at_most: What it never exceeds.
    """

    def __init__(
        self,
        at_first: int = _defaults.REQUESTS_AT_FIRST,
        at_most: int = _defaults.REQUESTS_IN_FLIGHT,
    ) -> None:
        self._limit = float(at_first)
        self._at_most = float(at_most)
        self._in_flight = 0
        self._era = 0
        self._usual_seconds: float | None = None
        self._waiting: deque[Slot] = deque()
        self._held: Counter[int | None] = Counter()
        # A generator that the garbage collector closes may release a slot at any point.
        self._lock = threading.RLock()

    @property
    def limit(self) -> int:
        """How many requests may be on their way now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """How many slots are held."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """How many slots are waited for."""
        return len(self._waiting)

    def is_usual(self, seconds: float) -> bool:
        """Return whether a request took about as long as those before it, and remember it.

        Args:
            seconds: How long it took.
        """
        with self._lock:
            usual = seconds if self._usual_seconds is None else self._usual_seconds
            self._usual_seconds = usual + _WEIGHT_OF_LAST * (seconds - usual)
        return seconds <= max(_USUAL_TIMES * usual, _USUAL_SECONDS)

    def request(self, wake: Callable[[], object], version: int | None = None) -> Slot:
        """Return a slot, which is held at once or as soon as those before it were released.

        Args:
            wake: Called when the slot is held, unless it is so at once. It must not block.
            version: The version that the request names; None is the server's default.
        """
        slot = Slot(wake, version)
        with self._lock:
            if (self._has_room and not self._waiting) or not self._held[version]:
                self._grant(slot)
            else:
                self._waiting.append(slot)
        return slot

    def release(self, slot: Slot, verdict: Verdict = Verdict.NOTHING) -> None:
        """Release a slot, whether it is held or waited for; the second time nothing happens.

        Args:
            slot: A slot that `request` returned.
            verdict: What its request says about the load of the server.
        """
        with self._lock:
            if slot.is_held:
                self._learn(slot, verdict)
                slot.is_held = False
                self._in_flight -= 1
                self._held[slot.version] -= 1
            elif slot in self._waiting:
                self._waiting.remove(slot)
            while self._waiting and self._has_room:
                self._wake(self._waiting[0])
            if not self._held[slot.version]:
                # The first one of a version that has none on its way now.
                same = (each for each in self._waiting if each.version == slot.version)
                if (first := next(same, None)) is not None:
                    self._wake(first)

    @property
    def _has_room(self) -> bool:
        return self._in_flight < self.limit

    def _wake(self, slot: Slot) -> None:
        self._waiting.remove(slot)
        self._grant(slot)
        slot.wake()

    def _grant(self, slot: Slot) -> None:
        self._held[slot.version] += 1
        slot.is_held = True
        slot.era = self._era
        self._in_flight += 1

    def _learn(self, slot: Slot, verdict: Verdict) -> None:
        if slot.era != self._era:
            return
        if verdict is Verdict.QUICK and self._in_flight >= self.limit:
            step = 1 / self._limit if self._era else 1
            self._limit = min(self._limit + step, self._at_most)
        elif verdict in _KEPT:
            self._limit = max(self._limit * _KEPT[verdict], 1.0)
            self._era += 1
