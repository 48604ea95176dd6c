"""OVMS's metrics: the same names, labels and buckets, kept with prometheus_client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from bertqa.errors import ConfigError

DEFAULT = (
    "ovms_current_requests",
    "ovms_inference_time_us",
    "ovms_request_time_us",
    "ovms_requests_fail",
    "ovms_requests_success",
    "ovms_streams",
    "ovms_wait_for_infer_req_time_us",
)
OPTIONAL = ("ovms_infer_req_active", "ovms_infer_req_queue_size")
OF_GRAPHS = (  # Accepted in a list of metrics; the local engine has no graphs that could count.
    "ovms_requests_accepted",
    "ovms_requests_rejected",
    "ovms_responses",
    "ovms_current_graphs",
    "ovms_graph_error",
)
# Powers of 1.8 from 10 microseconds to half an hour.
BUCKETS = tuple(int(10 * 1.8**power) for power in range(33))
INTERFACES = ("REST", "gRPC")


class Metrics:
    """Counts requests and measures their times; `text` is what `GET /metrics` answers.

    All series of a version exist, at 0, from the moment that the version is loaded, and stay.

    Args:
        enabled: Whether `GET /metrics` is answered.
        names: The metrics to show; by default those that OVMS shows.

    Raises:
        ConfigError: A name is not that of a metric.
    """

    def __init__(self, enabled: bool = False, names: Iterable[str] = ()) -> None:
        shown = tuple(names)
        unknown = sorted(set(shown) - {*DEFAULT, *OPTIONAL, *OF_GRAPHS})
        if unknown:
            raise ConfigError(f"There is no metric {', '.join(unknown)} (metrics_list).")
        self.enabled = enabled
        self._registry = CollectorRegistry()
        shown = shown or DEFAULT
        version = ("name", "version")

        def registry(name: str) -> CollectorRegistry | None:
            return self._registry if name in shown else None

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, version, registry=registry(name))

        def histogram(name: str, text: str, labels: tuple[str, ...]) -> Histogram:
            return Histogram(name, text, labels, buckets=BUCKETS, registry=registry(name))

        def requests(name: str, text: str) -> _Requests:
            counts = _Requests(name, text)
            if name in shown:
                self._registry.register(counts)
            return counts

        self._current = gauge(
            "ovms_current_requests", "Number of inference requests currently in process."
        )
        self._active = gauge(
            "ovms_infer_req_active",
            "Number of currently consumed inference request from the processing queue.",
        )
        self._nireq = gauge("ovms_infer_req_queue_size", "Inference request queue size (nireq).")
        self._streams = gauge("ovms_streams", "Number of OpenVINO execution streams.")
        self._inference_time = histogram(
            "ovms_inference_time_us", "Inference execution time in the OpenVINO backend.", version
        )
        self._wait_time = histogram(
            "ovms_wait_for_infer_req_time_us",
            "Request waiting time in the scheduling queue.",
            version,
        )
        self._request_time = histogram(
            "ovms_request_time_us",
            "Processing time of requests to a model or a DAG.",
            ("interface", *version),
        )
        self._success = requests(
            "ovms_requests_success", "Number of successful requests to a model or a DAG."
        )
        self._fail = requests(
            "ovms_requests_fail", "Number of failed requests to a model or a DAG."
        )

    def loaded(self, name: str, version: int, nireq: int, streams: int) -> None:
        """Begin the series of a version, or continue them.

        Args:
            name: The model's name.
            version: The version.
            nireq: How many requests it runs at once.
            streams: How many streams OpenVINO runs them in.
        """
        labels = (name, str(version))
        self._nireq.labels(*labels).set(nireq)
        self._streams.labels(*labels).set(streams)
        for metric in (self._current, self._active, self._inference_time, self._wait_time):
            metric.labels(*labels)
        for interface in INTERFACES:
            self._request_time.labels(interface, *labels)
            for counts in (self._success, self._fail):
                counts.add(interface, "ModelReady", name, None, 0)
                counts.add(interface, "ModelMetadata", name, version, 0)
                counts.add(interface, "ModelInfer", name, version, 0)

    def retired(self, name: str, version: int) -> None:
        """Record that a version no longer has streams.

        Args:
            name: The model's name.
            version: The version.
        """
        self._streams.labels(name, str(version)).set(0)

    @contextmanager
    def request(
        self, interface: str, method: str, name: str, version: int | None
    ) -> Iterator[None]:
        """Count a request to a known version as a success, or as failed where it raises.

        Args:
            interface: "REST" or "gRPC".
            method: The name of the KServe call, such as "ModelInfer".
            name: The model's name.
            version: The version; None for a call that is about the model.
        """
        started = time.perf_counter()
        try:
            yield
        except BaseException:
            self._fail.add(interface, method, name, version, 1)
            raise
        self._success.add(interface, method, name, version, 1)
        if method == "ModelInfer":
            elapsed = (time.perf_counter() - started) * 1e6
            self._request_time.labels(interface, name, str(version)).observe(elapsed)

    @contextmanager
    def inference(self, name: str, version: int) -> Iterator[None]:
        """Count an inference that holds an infer request while the block runs.

        OVMS counts a request as current from then on, and not while it waits.

        Args:
            name: The model's name.
            version: The version.
        """
        labels = (name, str(version))
        with (
            self._current.labels(*labels).track_inprogress(),
            self._active.labels(*labels).track_inprogress(),
        ):
            yield

    def inferred(self, name: str, version: int, waited: float, took: float) -> None:
        """Record a finished inference.

        Args:
            name: The model's name.
            version: The version.
            waited: Seconds in the queue.
            took: Seconds in the model.
        """
        self._wait_time.labels(name, str(version)).observe(waited * 1e6)
        self._inference_time.labels(name, str(version)).observe(took * 1e6)

    def text(self) -> str:
        """Return the metrics in Prometheus's text format."""
        # OVMS's counters do not end in "_total", as those of prometheus_client do.
        return generate_latest(_WithoutCreated(self._registry)).decode().replace("_total ", " ")


class _WithoutCreated(Collector):
    """A registry without the times of creation, which OVMS does not show.

    prometheus_client can leave them out by itself, but only for a whole process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family


class _Requests(Collector):
    """A counter with OVMS's two sets of labels in one family: ModelReady has no version."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._counts: dict[tuple[str, str, str, int | None], int] = {}

    def add(self, interface: str, method: str, name: str, version: int | None, by: int) -> None:
        key = (interface, method, name, version)
        self._counts[key] = self._counts.get(key, 0) + by

    def collect(self) -> Iterator[Metric]:
        family = Metric(self._name, self._text, "counter")
        for (interface, method, name, version), count in self._counts.items():
            labels = {"api": "KServe", "interface": interface, "method": method, "name": name}
            if version is not None:
                labels["version"] = str(version)
            family.add_sample(self._name, labels, count)
        yield family
