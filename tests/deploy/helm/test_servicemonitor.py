"""templates/servicemonitor.yaml and http-api-servicemonitor.yaml."""

from __future__ import annotations

import pytest

from bertqa_serve.http_api.metrics import Metrics
from tests.support.chart import Manifest, container, render, server_pod


def test_prometheus_reads_the_metrics_of_every_pod_with_its_track() -> None:
    rendering = render("monitoring")
    monitor = rendering.one("ServiceMonitor")
    service = rendering.one("Service", "bert-qa-metrics")
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    matching = [
        one for one in rendering.all("Service") if chosen <= one["metadata"]["labels"].items()
    ]
    assert matching == [service]
    (port,) = service["spec"]["ports"]
    paths = {endpoint["path"]: endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    assert paths == {"/metrics": port["name"], "/stats/prometheus": port["name"]}
    assert port["targetPort"] in {
        one["containerPort"] for one in container(server_pod(rendering), "proxy")["ports"]
    }
    assert monitor["spec"]["podTargetLabels"] == ["bert-qa/track"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def relabeled(scenario: str = "monitoring") -> dict[str, list[Manifest]]:
    """What each address that Prometheus reads gets of labels, by path and kind."""
    rendering = render(scenario, {"monitoring": {"serviceMonitor": {"enabled": True}}})
    return {
        f"{monitor['metadata']['name']} {endpoint['path']}": endpoint["relabelings"]
        for of_http_api in (False, True)
        for monitor in rendering.all("ServiceMonitor", of_http_api=of_http_api)
        for endpoint in monitor["spec"]["endpoints"]
    }


@pytest.mark.parametrize("scenario", ["monitoring", "rollouts"])
def test_every_metric_has_the_name_of_its_release(scenario: str) -> None:
    found = relabeled(scenario)
    assert set(found) == {
        "bert-qa /metrics",
        "bert-qa /stats/prometheus",
        "bert-qa-http-api /metrics",
    }
    for relabelings in found.values():
        assert {"targetLabel": "release", "replacement": "bert-qa"} in relabelings


def test_two_addresses_of_a_pod_are_two_targets() -> None:
    """Otherwise their `up` would be one series, which is 0 and 1 at once."""
    found = relabeled()
    assert {"targetLabel": "endpoint", "replacement": "proxy"} in found["bert-qa /stats/prometheus"]
    assert {"targetLabel": "endpoint", "replacement": "metrics"} in found["bert-qa /metrics"]


def test_the_endpoint_of_a_metric_of_the_http_api_keeps_its_name() -> None:
    """The operator's label `endpoint` would make `exported_endpoint` of it."""
    metrics = Metrics()
    metrics.request("/v1/answers", "POST", 200, 0.1)
    assert 'endpoint="/v1/answers"' in metrics.text().decode()
    dropped = {"action": "labeldrop", "regex": "endpoint"}
    assert dropped in relabeled()["bert-qa-http-api /metrics"]


def test_the_metrics_service_reaches_tracks_without_weight_too() -> None:
    rendering = render("monitoring", {"tracks": {"next": {"version": 2, "weight": 0}}})
    selector = rendering.one("Service", "bert-qa-metrics")["spec"]["selector"].items()
    for deployment in rendering.all("Deployment"):
        assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_there_is_none_by_default() -> None:
    assert not render().all("ServiceMonitor")
