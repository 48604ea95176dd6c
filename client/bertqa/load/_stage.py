"""One stage of a load test: what was asked for, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hdrh.histogram import HdrHistogram

# From a microsecond to ten minutes, with three digits.
_LONGEST = 600_000_000
_DIGITS = 3
QUANTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
# Above these the processes that ask are what is measured.
_BUSY_SHARE = 0.9
_MAY_BE_BUSY = 0.5
_LATE_SHARE = 0.1
_LATE_FROM_MS = 2.0
# A burst that is shorter counts as so long.
_LEAST_SECONDS = 1.0


def new_histogram() -> Any:
    """Return an empty histogram of microseconds (HdrHistogram of Tene)."""
    return HdrHistogram(1, _LONGEST, _DIGITS)


def record(histogram: Any, seconds: float) -> None:
    """Add a time to a histogram.

    Args:
        histogram: The histogram.
        seconds: The time.
    """
    histogram.record_value(min(max(round(1e6 * seconds), 1), _LONGEST))


@dataclass(frozen=True, slots=True)
class Arrivals:
    """When recorded requests come.

    Attributes:
        times: The seconds from the first to each, ascending.
        speed: How many times as fast as they were recorded they come; the times are so already.
    """

    times: tuple[float, ...]
    speed: float = 1.0

    @property
    def rate(self) -> float:
        """Requests per second, the mean over a second at least."""
        return (len(self.times) - 1) / max(self.times[-1], _LEAST_SECONDS)


@dataclass(frozen=True, slots=True)
class Shape:
    """How questions come: whatever the server does, or so many at once.

    Attributes:
        rate: Questions per second, at random times (a Poisson process): an open loop.
        at_once: Questions on their way at once, each followed by the next: a closed loop.
        arrivals: The times of recorded requests, of which the test's questions are the texts in
            their order: an open loop.
    """

    rate: float | None = None
    at_once: int | None = None
    arrivals: Arrivals | None = None

    def __str__(self) -> str:
        if self.arrivals is not None:
            return f"recorded, {self.arrivals.rate:.3g}/s for {self.arrivals.times[-1]:.0f} s"
        return f"{self.rate:g}/s" if self.rate is not None else f"{self.at_once} at once"

    @property
    def is_open(self) -> bool:
        """Whether questions come whatever the server does."""
        return self.at_once is None

    def part(self, number: int, count: int) -> Shape:
        """Return what one of several processes does of it.

        Poisson processes add up to one again.

        Args:
            number: Which it is, from 0.
            count: How many there are.
        """
        if self.arrivals is not None:
            mine = self.arrivals.times[number::count]
            return Shape(arrivals=Arrivals(mine, self.arrivals.speed))
        if self.rate is not None:
            return Shape(rate=self.rate / count)
        assert self.at_once is not None
        return Shape(at_once=self.at_once // count + (number < self.at_once % count))


@dataclass(slots=True)
class Counted:
    """What one process counted in a stage.

    Attributes:
        latencies: A histogram of the microseconds from when a question was to be asked until it was
            answered, encoded.
        late: One of the microseconds by which it was asked too late, encoded.
        asked: How many were asked.
        came: How many answers came while the stage counted, also to questions of the warm-up.
        errors: How many were not answered, by the kind of error.
        ended: When the last one was answered, on the monotonic clock.
        busy: The processor time that the process took, in seconds.
        wall: How long the stage took for it, in seconds.
    """

    latencies: bytes
    late: bytes
    asked: int
    came: int
    errors: Counter[str]
    ended: float
    busy: float
    wall: float


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        shape: How questions came.
        seconds: How long they did, the warm-up left out.
        asked: How many were asked.
        errors: How many were not answered, by the kind of error.
        questions_per_second: How many were answered in a second: so many at once, of the answers
            that came in these seconds; else until the last one was.
        encoded: The latencies as an encoded HdrHistogram of microseconds.
        late_p99_ms: By how much 99 % of the questions were asked too late at most.
        processes: How many processes asked.
        client_share: The share of a core that the busiest of them took.
        server_cores: How many cores the server took; None where it is not on this machine.
        server_bytes: How much memory it had at most; likewise.
    """

    shape: Shape
    seconds: float
    asked: int
    errors: dict[str, int]
    questions_per_second: float
    encoded: str
    late_p99_ms: float
    processes: int
    client_share: float
    server_cores: float | None = None
    server_bytes: int | None = None

    @cached_property
    def _latencies(self) -> Any:
        return HdrHistogram.decode(self.encoded)

    def quantile_ms(self, percent: float) -> float | None:
        """Return the latency that so many percent of the answers do not exceed; None without one.

        Args:
            percent: From 0 to 100.
        """
        found = self._latencies
        if not found.get_total_count():
            return None
        # The histogram rounds to the nearest rank, which may be one too few.
        count = found.get_total_count()
        rank = math.ceil(round(percent * count / 100, 6))
        return float(found.get_value_at_percentile(100 * rank / count)) / 1000

    def slower_than(self, milliseconds: float) -> int:
        """Return how many answers took longer, to the three digits of the histogram.

        Args:
            milliseconds: The limit.
        """
        limit = self._latencies.get_highest_equivalent_value(round(1000 * milliseconds))
        return sum(
            each.count_added_in_this_iter_step
            for each in self._latencies.get_recorded_iterator()
            if each.value_iterated_to > limit
        )

    @property
    def answered(self) -> int:
        """How many questions were answered."""
        return self.asked - sum(self.errors.values())

    @property
    def is_limited_by_client(self) -> bool:
        """Whether it is the processes that ask that limit what was measured."""
        return self.client_share > (_MAY_BE_BUSY if self.is_late else _BUSY_SHARE)

    @property
    def is_late(self) -> bool:
        """Whether questions were asked later than they were to be, beyond what does not matter.

        Where those that ask do not compute much, something else has this machine's processors.
        """
        median = self.quantile_ms(50) or 0.0
        late = self.late_p99_ms > max(_LATE_FROM_MS, _LATE_SHARE * median)
        return self.shape.is_open and late

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "rate": self.shape.rate,
            "at_once": self.shape.at_once,
            "recorded_speed": self.shape.arrivals.speed if self.shape.arrivals else None,
            "seconds": self.seconds,
            "asked": self.asked,
            "answered": self.answered,
            "errors": self.errors,
            "questions_per_second": self.questions_per_second,
            "latency_ms": {f"p{each:g}": self.quantile_ms(each) for each in QUANTILES},
            "hdr_histogram": self.encoded,
            "late_p99_ms": self.late_p99_ms,
            "processes": self.processes,
            "client_share": self.client_share,
            "client_is_limit": self.is_limited_by_client,
            "asked_late": self.is_late,
            "server_cores": self.server_cores,
            "server_bytes": self.server_bytes,
        }
