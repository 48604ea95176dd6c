"""templates/podmonitor.yaml: how Prometheus finds the pods that KServe makes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.chart import Manifest, container, render


def monitors(scenario: str, values: dict[str, Any] | None = None) -> dict[str, Manifest]:
    """The monitors by the part of the InferenceService whose pods they select."""
    rendering = render(scenario, values)
    found = [*rendering.all("PodMonitor"), *rendering.all("PodMonitor", of_http_api=True)]
    return {one["spec"]["selector"]["matchLabels"]["component"]: one["spec"] for one in found}


def relabeled(endpoint: Manifest, labels: dict[str, str]) -> dict[str, str] | None:
    """A target's labels after Prometheus's relabelings; None where it is dropped."""
    for rule in endpoint["relabelings"]:
        pattern = rule.get("regex", "(.*)")
        value = ";".join(labels.get(name, "") for name in rule.get("sourceLabels", []))
        matched = re.fullmatch(pattern, value)
        match rule.get("action", "replace"):
            case "keep" if not matched:
                return None
            case "replace" if matched:
                new = matched.expand(re.sub(r"\$(\d)", r"\\\1", rule["replacement"]))
                labels = {**labels, rule["targetLabel"]: new}
            case "labeldrop":
                labels = {name: one for name, one in labels.items() if name != pattern}
    return labels


def targets(scenario: str, component: str) -> list[tuple[str, str, str]]:
    """Each address that Prometheus reads of one pod, with its path and its label `endpoint`."""
    service = render(scenario).one("InferenceService")["spec"][component]
    declared = [
        (one["name"], port["name"], port["containerPort"])
        for one in [*service.get("initContainers", []), *service["containers"]]
        for port in one.get("ports", [])
    ]
    found = []
    for endpoint in monitors(scenario)[component]["podMetricsEndpoints"]:
        for name, port_name, port in declared:
            if endpoint.get("port", port_name) != port_name:
                continue
            labels = {"__meta_kubernetes_pod_container_name": name}
            labels["__address__"] = f"10.0.0.7:{port}"
            if kept := relabeled(endpoint, labels):
                assert kept["release"] == "bert-qa"
                found.append((kept["__address__"], endpoint["path"], kept.get("endpoint", "")))
    return found


@pytest.mark.parametrize("scenario", ["kserve", "kserve-standard"])
def test_prometheus_reads_ovms_and_envoy_of_each_server_once(scenario: str) -> None:
    assert targets(scenario, "predictor") == [
        ("10.0.0.7:8081", "/metrics", "metrics"),
        ("10.0.0.7:8081", "/stats/prometheus", "proxy"),
    ]


@pytest.mark.parametrize("scenario", ["kserve", "kserve-standard"])
def test_prometheus_reads_the_http_api_once(scenario: str) -> None:
    assert targets(scenario, "transformer") == [("10.0.0.7:8080", "/metrics", "")]
    assert set(monitors(scenario, {"httpApi": {"enabled": False}})) == {"predictor"}


def test_each_series_has_its_track() -> None:
    service = render("kserve").one("InferenceService")["spec"]["predictor"]
    assert service["labels"]["bert-qa/track"] == "candidate"
    assert monitors("kserve")["predictor"]["podTargetLabels"] == ["bert-qa/track"]
    assert container(service, "transformer-container")["ports"]


def test_pods_of_another_release_are_not_selected() -> None:
    for monitor in monitors("kserve", {"fullnameOverride": "other"}).values():
        labels = monitor["selector"]["matchLabels"]
        assert labels["serving.kserve.io/inferenceservice"] == "other"


def test_there_is_none_without_kserve() -> None:
    assert not render("monitoring").all("PodMonitor")
    off = {"monitoring": {"serviceMonitor": {"enabled": False}}}
    assert not render("kserve", off).all("PodMonitor")
    assert not render("kserve").all("ServiceMonitor")
