"""templates/scaledobject.yaml: KEDA."""

from __future__ import annotations

from tests.support.chart import container, render, server_config, server_pod


def test_pods_follow_the_requests_in_progress() -> None:
    rendering = render("keda")
    specification = rendering.one("ScaledObject")["spec"]
    assert specification["scaleTargetRef"]["name"] == "bert-qa-stable"
    (trigger,) = specification["triggers"]
    assert trigger["type"] == "prometheus"
    assert trigger["metadata"]["threshold"] == "4"
    query = trigger["metadata"]["query"]
    assert query == 'sum(ovms_current_requests{namespace="ml", pod=~"bert-qa-stable-.+"})'
    metrics = server_config(rendering)["monitoring"]["metrics"]["metrics_list"]
    assert "ovms_current_requests" in metrics


def test_pods_may_follow_the_cpu_of_the_server() -> None:
    rendering = render("keda", {"autoscaling": {"metric": "cpu"}})
    (trigger,) = rendering.one("ScaledObject")["spec"]["triggers"]
    assert trigger["type"] == "cpu"
    container(server_pod(rendering), trigger["metadata"]["containerName"])


def test_there_is_none_by_default() -> None:
    assert not render("autoscaling").all("ScaledObject")
