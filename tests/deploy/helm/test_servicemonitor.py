"""templates/servicemonitor.yaml."""

from __future__ import annotations

from tests.support.chart import container, render, server_pod


def test_prometheus_reads_the_metrics_of_every_pod_with_its_track() -> None:
    rendering = render("monitoring")
    monitor = rendering.one("ServiceMonitor")
    service = rendering.one("Service", "bert-qa-metrics")
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    matching = [
        one for one in rendering.all("Service") if chosen <= one["metadata"]["labels"].items()
    ]
    assert matching == [service]
    (endpoint,) = monitor["spec"]["endpoints"]
    (port,) = service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert endpoint["path"] == "/metrics"
    assert port["targetPort"] in {
        one["containerPort"] for one in container(server_pod(rendering), "proxy")["ports"]
    }
    assert monitor["spec"]["podTargetLabels"] == ["bert-qa/track"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_the_metrics_service_reaches_tracks_without_weight_too() -> None:
    rendering = render("monitoring", {"tracks": {"next": {"version": 2, "weight": 0}}})
    selector = rendering.one("Service", "bert-qa-metrics")["spec"]["selector"].items()
    for deployment in rendering.all("Deployment"):
        assert selector <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_there_is_none_by_default() -> None:
    assert not render().all("ServiceMonitor")
