"""What Prometheus reads of the HTTP API."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from bertqa.artifact import SPLIT_METRIC

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# The stages that the client reports, by the names that they have here.
_PHASES = {"bertqa.tokenize": "tokenize", "bertqa.infer": "infer", "bertqa.decode": "decode"}


class Metrics:
    """The counts of one process; with several workers, those of all of them are shown together."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "bertqa_http_requests",
            "Requests by endpoint and status; 499 is a client that hung up.",
            ("endpoint", "method", "status"),
            registry=self._registry,
        )
        self._latency = Histogram(
            "bertqa_http_request_seconds",
            "From the head of a request until its response is sent.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._phase_seconds = Histogram(
            "bertqa_http_phase_seconds",
            "The phases of answering: read, tokenize, infer, decode.",
            ("phase",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._windows = Counter(
            "bertqa_http_windows", "Windows that the model has run.", registry=self._registry
        )
        self._answers = Counter(
            "bertqa_http_answers",
            "Answered questions by model and version.",
            ("model", "version"),
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "bertqa_http_in_flight",
            "Requests that are answered or wait.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._phases = {name: self._phase_seconds.labels(name) for name in _PHASES.values()}
        self._read = self._phase_seconds.labels("read")

    def request(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            endpoint: The endpoint's path, without what a client may choose.
            method: The method of HTTP.
            status: The status of HTTP.
            seconds: How long it took.
        """
        self._requests.labels(endpoint, method, str(status)).inc()
        self._latency.labels(endpoint).observe(seconds)

    def read(self, seconds: float) -> None:
        """Count the reading of a body.

        Args:
            seconds: How long it took.
        """
        self._read.observe(seconds)

    def answered(self, model: str, version: int) -> None:
        """Count an answered question.

        Args:
            model: The model, which is one that is served.
            version: The version that answered.
        """
        self._answers.labels(model, str(version)).inc()

    def waits(self, more: int) -> None:
        """Count requests that are answered or wait.

        Args:
            more: 1 where one came, -1 where one left.
        """
        self._in_flight.inc(more)

    def stage(self, name: str, seconds: float, attributes: Mapping[str, int]) -> None:
        """Count a stage of the client; see `bertqa.client.STAGES`.

        Args:
            name: The name of the stage.
            seconds: How long it took.
            attributes: What the client reports about it.
        """
        phase = _PHASES.get(name)
        if phase is not None:
            self._phases[phase].observe(seconds)
            self._windows.inc(attributes.get("windows", 0))

    def text(self, split: Mapping[str, float] | None = None) -> bytes:
        """Return the counts as Prometheus reads them.

        Args:
            split: The share of each version in percent, which all processes follow.
        """
        registry = self._registry
        if MULTIPROCESS in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry) + _split_text(split or {})


def _split_text(split: Mapping[str, float]) -> bytes:
    if not split:
        return b""
    registry = CollectorRegistry()
    gauge = Gauge(
        SPLIT_METRIC,
        "The split of the questions that is followed.",
        ("version",),
        registry=registry,
    )
    for version, share in split.items():
        gauge.labels(version).set(share)
    return generate_latest(registry)
