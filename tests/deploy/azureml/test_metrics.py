"""Judging a version by what Azure Monitor has counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from azure.ai.ml import MLClient

from bertqa_deploy.azureml import metrics
from bertqa_deploy.azureml.metrics import EndpointMetrics
from bertqa_deploy.azureml.target import EndpointTarget
from bertqa_deploy.errors import (
    AzureError,
    InconclusiveError,
    MetricMissingError,
    RolledBackError,
)
from bertqa_deploy.rollout import Counts, Limits, Plan, Rollout, Verdict
from tests.support.azure import METRICS, MONITOR, WORKSPACE_ID, Azure

NOON = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
ENDPOINT = "onlineEndpoints/bert-qa"
HELD = Plan(pause_seconds=600, interval_seconds=60, limits=Limits(p95_factor=2))


class Clock:
    """A clock that only `sleep` moves; the monitor counts traffic meanwhile, by the minute."""

    def __init__(self, azure: Azure, milliseconds: float = 10.0) -> None:
        self.time = NOON
        self.per_minute, self.failed = 200.0, 0.0
        self._azure = azure
        self._milliseconds = {"version-1": 10.0, "version-2": milliseconds}

    def utc(self) -> datetime:
        return self.time

    def now(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        minute = self.time.replace(second=0)
        self.time += timedelta(seconds=seconds)
        traffic = self._azure.properties(ENDPOINT)["traffic"]
        while minute < self.time.replace(second=0):
            for deployment, percent in traffic.items():
                requests = self.per_minute * percent / 100
                bad = requests * self.failed if deployment == "version-2" else 0
                for status, count in (("2xx", requests - bad), ("5xx", bad)):
                    self._azure.counted.setdefault(deployment, []).append(
                        (minute, status, count, self._milliseconds[deployment])
                    )
            minute += timedelta(minutes=1)


def rollout(client: MLClient, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Rollout:
    def at_that_time(client: MLClient, endpoint_id: str) -> EndpointMetrics:
        return EndpointMetrics(client, endpoint_id, clock.utc)

    monkeypatch.setattr("bertqa_deploy.azureml.target.EndpointMetrics", at_that_time)
    target = EndpointTarget(client, "bert-qa")
    Rollout(target).move({1: 100.0})
    return Rollout(target, HELD, sleep=clock.sleep, now=clock.now)


def test_whole_minutes_are_counted_by_deployment_and_once_they_are_settled(
    client: MLClient, azure: Azure
) -> None:
    time = NOON
    counted = EndpointMetrics(client, f"{WORKSPACE_ID}/{ENDPOINT}", lambda: time)
    begin = NOON.replace(second=0) - timedelta(minutes=3)
    azure.counted = {
        "version-1": [(begin, "2xx", 7, 1)],
        "version-2": [
            (begin - timedelta(minutes=1), "2xx", 1000, 1),
            (begin, "2xx", 90, 20),
            (begin, "4xx", 3, 20),
            (begin, "5xx", 7, 20),
            (begin + timedelta(minutes=1), "2xx", 50, 20),
        ],
    }

    first = counted.counts("version-2")
    assert (first.succeeded, first.failed) == (90, 10)
    assert first.p95_ms == pytest.approx(20, rel=0.1)
    assert counted.counts("version-3") == Counts()

    time += timedelta(minutes=1)
    azure.counted["version-2"][1] = (begin, "2xx", 85, 20)  # what was read once stays
    second = counted.counts("version-2")
    assert (second.succeeded, second.failed) == (140, 10)
    assert second.increase_since(first).requests == 50


def test_a_candidate_is_promoted_by_its_minutes(
    both: MLClient, azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(azure)
    moved = rollout(both, clock, monkeypatch).move({1: 50.0, 2: 50.0})

    (held,) = moved.held
    assert held.verdict is Verdict.SUCCESSFUL
    assert held.requests == 100 * (10 - 2), "two minutes are not settled yet"
    assert held.p95_ms == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize(
    ("failed", "milliseconds", "reason"),
    [
        (0.1, 10.0, r"10\.0 % of .* requests failed"),
        (0.0, 40.0, "The 95th percentile of its latency is"),
    ],
)
def test_a_candidate_that_fails_or_is_slow_is_taken_back(
    both: MLClient,
    azure: Azure,
    monkeypatch: pytest.MonkeyPatch,
    failed: float,
    milliseconds: float,
    reason: str,
) -> None:
    clock = Clock(azure, milliseconds)
    clock.failed = failed
    with pytest.raises(RolledBackError, match=f"returned to 1=100: {reason}"):
        rollout(both, clock, monkeypatch).move({1: 50.0, 2: 50.0})
    assert azure.properties(ENDPOINT)["traffic"] == {"version-1": 100}


def test_without_requests_nothing_is_promoted(
    both: MLClient, azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(azure)
    clock.per_minute = 0
    with pytest.raises(InconclusiveError, match="Version 2 got 0 of at least 20 requests"):
        rollout(both, clock, monkeypatch).move({1: 50.0, 2: 50.0})


@pytest.mark.parametrize("missing", [METRICS[0], METRICS[3]])
def test_a_metric_that_is_missing_is_named_before_anything_is_done(
    both: MLClient, azure: Azure, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    held = rollout(both, Clock(azure), monkeypatch)
    azure.changes.clear()
    azure.metrics.discard(missing)
    with pytest.raises(MetricMissingError, match=f"does not count {missing} of the endpoint"):
        held.move({2: 100.0})

    azure.refusals["GET", MONITOR] = (403, "AuthorizationFailed", "You have no role for it.")
    with pytest.raises(AzureError, match="not allowed to read the metrics of the endpoint"):
        held.move({2: 100.0})
    assert azure.changes == []


def test_percentiles_become_a_histogram() -> None:
    counts = metrics._counts(100, 0, {0.5: 10, 0.9: 20, 0.95: 40, 0.99: 30})
    assert counts.p95_ms == pytest.approx(40, rel=0.1)
    assert metrics._counts(1, 1, {}).p95_ms is None
