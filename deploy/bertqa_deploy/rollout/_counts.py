"""What OVMS counts, as read from `/metrics`, and how much it grew between two readings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bertqa_deploy.errors import MetricMissingError

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

P95 = 0.95
_SUCCEEDED, _FAILED = "ovms_requests_success", "ovms_requests_fail"
_TIMES = "ovms_request_time_us_bucket"
_COUNTERS = (_SUCCEEDED, _FAILED, _TIMES)


@dataclass(frozen=True, slots=True)
class Counts:
    """Infer requests of one model version.

    Attributes:
        succeeded: The number of requests that succeeded.
        failed: The number of requests that failed.
        buckets: The number of requests that took at most so many microseconds, by that bound.
        restarts: How often the server's container was restarted, where that is known.
    """

    succeeded: float = 0
    failed: float = 0
    buckets: dict[float, float] = field(default_factory=dict)
    restarts: int = 0

    @property
    def requests(self) -> float:
        """The number of requests."""
        return self.succeeded + self.failed

    @property
    def error_percent(self) -> float:
        """The share of requests that failed, in percent."""
        return 100 * self.failed / self.requests if self.requests else 0.0

    @property
    def timed(self) -> int:
        """The number of requests whose time was counted."""
        return round(max(self.buckets.values(), default=0))

    @property
    def p95_ms(self) -> float | None:
        """The 95th percentile of the time of a request, in milliseconds; None without requests."""
        return self.quantile_ms(P95) if self.timed else None

    def quantile_ms(self, share: float) -> float:
        """Return the time within which a share of the requests was answered, in milliseconds.

        Interpolated within its bucket, as Prometheus's `histogram_quantile` does.

        Args:
            share: From 0 to 1; there has to be a request whose time was counted.
        """
        bounds = sorted(self.buckets)
        rank = share * self.buckets[bounds[-1]]
        below, bound_below = 0.0, 0.0
        for bound in bounds:
            count = self.buckets[bound]
            if count >= rank and count > below:
                if math.isinf(bound):
                    return bound_below / 1000
                part = (rank - below) / (count - below)
                return (bound_below + (bound - bound_below) * part) / 1000
            below, bound_below = count, bound
        raise AssertionError("the last bucket holds all")

    def slower_than(self, milliseconds: float) -> int:
        """Return how many requests took longer, interpolated as `quantile_ms` does.

        Args:
            milliseconds: The time.
        """
        wanted = 1000 * milliseconds
        below, bound_below = 0.0, 0.0
        for bound, count in sorted(self.buckets.items()):
            if wanted < bound:
                part = 0.0 if math.isinf(bound) else (wanted - bound_below) / (bound - bound_below)
                return round(self.timed - below - (count - below) * part)
            below, bound_below = count, bound
        return 0

    def increase_since(self, earlier: Counts) -> Counts:
        """Return what one server counted after an earlier reading of the same server.

        As in Prometheus's `increase`, a counter that fell shows that the server restarted: then all
        that it has now was counted after the restart, failures included.
        """
        if self._restarted_since(earlier):
            return self
        return Counts(
            self.succeeded - earlier.succeeded,
            self.failed - earlier.failed,
            {bound: count - earlier.buckets.get(bound, 0) for bound, count in self.buckets.items()},
        )

    def _restarted_since(self, earlier: Counts) -> bool:
        return (
            self.succeeded < earlier.succeeded
            or self.failed < earlier.failed
            or any(self.buckets.get(bound, 0) < count for bound, count in earlier.buckets.items())
        )


class Tally:
    """What the servers of one side counted together since the first reading.

    Each server is compared with its own last reading, so that neither a restarted nor a replaced
    one hides what it counted. One that appears later began to count at 0 after the first reading.

    Args:
        first: The first reading, by the names of the servers.

    Attributes:
        total: The counts of all servers since the first reading.
        restarts: The servers that restarted since then.
    """

    def __init__(self, first: Mapping[str, Counts]) -> None:
        self._last = dict(first)
        self.total = Counts()
        self.restarts: set[str] = set()

    def add(self, reading: Mapping[str, Counts]) -> None:
        """Take another reading into account.

        Args:
            reading: The counts of each server by its name, as it reports them: since it started.
        """
        for server, counts in reading.items():
            earlier = self._last.get(server, Counts())
            if counts.restarts > earlier.restarts:
                self.restarts.add(server)
            self.total = total([self.total, counts.increase_since(earlier)])
        self._last.update(reading)


class Restarts:
    """How often one server restarted, as far as its readings show: counters that fell.

    What began anew with the server are the counters of all versions alike, so that the restart is
    seen of a version that had no requests as well.

    Args:
        model: The model whose counters are looked at; those of others may come and go.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._last: dict[tuple[str, ...], float] = {}
        self._count = 0

    def until(self, samples: Iterable[Sample]) -> int:
        """Return how often it restarted until a reading, which is to be the newest.

        Args:
            samples: The samples of the server's metrics.
        """
        found = {
            (each.name, *(f"{key}={value}" for key, value in sorted(each.labels.items()))): (
                each.value
            )
            for each in samples
            if each.labels.get("name") == self._model and each.name.startswith(_COUNTERS)
        }
        self._count += any(found.get(key, count) < count for key, count in self._last.items())
        self._last = found
        return self._count


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of several pods' counts."""
    succeeded = failed = 0.0
    buckets: dict[float, float] = {}
    for each in counts:
        succeeded += each.succeeded
        failed += each.failed
        for bound, count in each.buckets.items():
            buckets[bound] = buckets.get(bound, 0) + count
    return Counts(succeeded, failed, buckets)


def counts_of(samples: Iterable[Sample], model: str, version: str) -> Counts:
    """Return the infer requests of one model version.

    Args:
        samples: The samples of a server's metrics, of all models and versions.
        model: The model's name.
        version: The version's number.

    Raises:
        MetricMissingError: The server does not count what an analysis needs.
    """
    succeeded = failed = 0.0
    buckets: dict[float, float] = {}
    missing = {_SUCCEEDED, _FAILED, _TIMES}
    for sample in samples:
        labels = sample.labels
        name = sample.name.removesuffix("_total")
        missing.discard(name)
        if (labels.get("name"), labels.get("version")) != (model, version):
            continue
        if name == _TIMES:
            bound = float(labels["le"])
            buckets[bound] = buckets.get(bound, 0) + sample.value
        elif labels.get("method") == "ModelInfer":
            if name == _SUCCEEDED:
                succeeded += sample.value
            elif name == _FAILED:
                failed += sample.value
    if missing:
        names = ", ".join(each.removesuffix("_bucket") for each in sorted(missing))
        raise MetricMissingError(
            f"The server's metrics lack {names}, so {model} cannot be judged: let OVMS count them "
            "(--metrics_enable, and --metrics_list where it is set), or switch without an "
            "analysis (--pause 0)."
        )
    return Counts(succeeded, failed, buckets)
