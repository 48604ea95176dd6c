"""What OVMS counts, read from `/metrics`, and what happened between two readings."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_LINE = re.compile(r"(?P<name>\w+)\{(?P<labels>[^}]*)\}\s+(?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_QUANTILE = 0.95


@dataclass(frozen=True, slots=True)
class Counts:
    """Infer requests of one model version: those that succeeded, those that failed, their times.

    `buckets` maps an upper bound in microseconds to the number of requests at or below it.
    """

    succeeded: float = 0
    failed: float = 0
    buckets: dict[float, float] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """How many requests there were."""
        return self.succeeded + self.failed

    @property
    def error_percent(self) -> float:
        """The share of requests that failed."""
        return 100 * self.failed / self.requests if self.requests else 0.0

    @property
    def p95_ms(self) -> float | None:
        """The 95th percentile of the time of a request, in milliseconds; None without requests.

        Interpolated within its bucket, as Prometheus's `histogram_quantile` does.
        """
        bounds = sorted(self.buckets)
        if not bounds or not self.buckets[bounds[-1]]:
            return None
        rank = _QUANTILE * self.buckets[bounds[-1]]
        below, bound_below = 0.0, 0.0
        for bound in bounds:
            count = self.buckets[bound]
            if count >= rank:
                if math.isinf(bound):
                    return bound_below / 1000
                share = (rank - below) / (count - below)
                return (bound_below + (bound - bound_below) * share) / 1000
            below, bound_below = count, bound
        raise AssertionError("the last bucket holds all")

    def __sub__(self, earlier: Counts) -> Counts:
        return Counts(
            max(0.0, self.succeeded - earlier.succeeded),
            max(0.0, self.failed - earlier.failed),
            {
                bound: max(0.0, count - earlier.buckets.get(bound, 0))
                for bound, count in self.buckets.items()
            },
        )


def total(counts: Iterable[Counts]) -> Counts:
    """Add up the counts of several pods."""
    succeeded = failed = 0.0
    buckets: dict[float, float] = {}
    for each in counts:
        succeeded += each.succeeded
        failed += each.failed
        for bound, count in each.buckets.items():
            buckets[bound] = buckets.get(bound, 0) + count
    return Counts(succeeded, failed, buckets)


def read_metrics(text: str, model: str, version: str) -> Counts:
    """Pick one model version's infer requests out of Prometheus's text format."""
    succeeded = failed = 0.0
    buckets: dict[float, float] = {}
    for match in _LINE.finditer(text):
        labels = dict(_LABEL.findall(match["labels"]))
        if (labels.get("name"), labels.get("version")) != (model, version):
            continue
        value = float(match["value"])
        if match["name"] == "ovms_request_time_us_bucket":
            bound = math.inf if labels["le"] == "+Inf" else float(labels["le"])
            buckets[bound] = buckets.get(bound, 0) + value
        elif labels.get("method") == "ModelInfer":
            if match["name"] == "ovms_requests_success":
                succeeded += value
            elif match["name"] == "ovms_requests_fail":
                failed += value
    return Counts(succeeded, failed, buckets)
