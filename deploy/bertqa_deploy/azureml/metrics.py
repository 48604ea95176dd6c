"""What Azure Monitor counts at an endpoint, by deployment and minute."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
from azure.ai.ml import MLClient
from azure.mgmt.monitor import MonitorManagementClient

from bertqa_deploy.azureml.workspace import PATIENCE, translated_errors
from bertqa_deploy.errors import MetricMissingError
from bertqa_deploy.rollout import Counts, Tally

_NAMESPACE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_REQUESTS = "RequestsPerMinute"
_CLASS = "statusCodeClass"
_SUCCEEDED = "2xx"
_LATENCIES = {
    "RequestLatency_P50": 0.5,
    "RequestLatency_P90": 0.9,
    "RequestLatency_P95": 0.95,
    "RequestLatency_P99": 0.99,
}
_MINUTE = timedelta(minutes=1)
# A minute's numbers arrive some time after its end, and are not read before.
_SETTLED = timedelta(minutes=2)
_BOUNDS_US = 1000 * 1.1 ** np.arange(120)  # From 1 ms to 84 s; a bucket is 10 % wide.

Now = Callable[[], datetime]


class EndpointMetrics:
    """The requests of an endpoint's deployments since two minutes before the first reading.

    Azure Monitor has whole minutes alone, some time after their end: what `counts` returns is that
    far behind, so that a candidate has to be held for several minutes.

    Args:
        client: The workspace.
        endpoint_id: The endpoint's id in Azure's resource manager.
        now: Returns the time, in UTC.
    """

    def __init__(
        self, client: MLClient, endpoint_id: str, now: Now = lambda: datetime.now(UTC)
    ) -> None:
        self._resource = endpoint_id.strip("/")
        self._now = now
        self._begin = self._end() - _MINUTE
        self._minutes: dict[str, dict[datetime, Counts]] = defaultdict(dict)
        base_url = client._base_url  # The SDK has no public name for its cloud and credential.
        self._monitor = MonitorManagementClient(
            client._credential,
            client.subscription_id,
            base_url=base_url,
            credential_scopes=[f"{base_url}/.default"],
            **PATIENCE,
        )

    def counts(self, deployment: str) -> Counts:
        """Return what a deployment counted.

        Args:
            deployment: Its name.

        Returns:
            Its requests; those without a status of 200 to 299 have failed. Their times are
            interpolated between the four percentiles that Azure Monitor has of each minute.

        Raises:
            MetricMissingError: Azure Monitor does not count what is needed.
            AzureError: Azure refuses or fails.
        """
        timespan = f"{self._begin:%Y-%m-%dT%H:%M:%SZ}/{self._end():%Y-%m-%dT%H:%M:%SZ}"
        of_deployment = f"deployment eq '{deployment}'"
        by_class = f"{of_deployment} and {_CLASS} eq '*'"
        requests: dict[datetime, dict[bool, float]] = defaultdict(lambda: defaultdict(float))
        for _, status, minute, value in self._read([_REQUESTS], by_class, timespan):
            requests[minute][status == _SUCCEEDED] += value
        times: dict[datetime, dict[float, float]] = defaultdict(dict)
        for name, _, minute, value in self._read(list(_LATENCIES), of_deployment, timespan):
            times[minute][_LATENCIES[name]] = value
        minutes = self._minutes[deployment]
        for minute, found in requests.items():
            if any(found.values()):
                # What was read once stays, so that the sum only ever grows.
                minutes.setdefault(minute, _counts(found[True], found[False], times[minute]))
        tally = Tally({})
        tally.add({str(minute): counts for minute, counts in minutes.items()})
        return tally.total

    def _end(self) -> datetime:
        return (self._now() - _SETTLED).replace(second=0, microsecond=0)

    def _read(
        self, names: list[str], filters: str, timespan: str
    ) -> Iterator[tuple[str, str, datetime, float]]:
        """Yield the metric, the class of status codes, the minute and the value of each point."""
        with translated_errors("read the metrics of the endpoint"):
            response = self._monitor.metrics.list(
                self._resource,
                timespan=timespan,
                interval="PT1M",
                metricnames=",".join(names),
                aggregation="Average",
                filter=filters,
                metricnamespace=_NAMESPACE,
            )
        found = {metric.name.value: metric for metric in response.value}
        missing = [name for name in names if name not in found]
        if missing:
            raise MetricMissingError(
                f"Azure Monitor does not count {', '.join(missing)} of the endpoint, so that no "
                "version can be judged: switch without an analysis (--pause 0)."
            )
        for name in names:
            for series in found[name].timeseries or []:
                dimensions = {
                    each.name.value.lower(): str(each.value).lower()
                    for each in series.metadatavalues or []
                    if each.name is not None
                }
                for point in series.data or []:
                    if point.average is not None:
                        status = dimensions.get(_CLASS.lower(), "")
                        yield name, status, point.time_stamp, point.average


def _counts(succeeded: float, failed: float, times_ms: dict[float, float]) -> Counts:
    """Return the counts of one minute, given its percentiles of latency by their shares."""
    if not times_ms:
        return Counts(succeeded, failed)
    shares = sorted(times_ms)
    points = np.maximum.accumulate([1000 * times_ms[share] for share in shares])
    below = np.interp(_BOUNDS_US, [0, *points], [0, *shares], right=1)
    requests = succeeded + failed
    buckets = dict(zip(_BOUNDS_US.tolist(), (requests * below).tolist(), strict=True))
    return Counts(succeeded, failed, {**buckets, math.inf: requests})
