"""templates/hpa.yaml."""

from __future__ import annotations

from tests.support.chart import container, render, server_config, server_pod


def test_pods_follow_the_cpu_of_the_server_and_not_of_the_proxy() -> None:
    rendering = render("autoscaling")
    specification = rendering.one("HorizontalPodAutoscaler")["spec"]
    (metric,) = specification["metrics"]
    assert metric["type"] == "ContainerResource"
    assert metric["containerResource"]["target"]["averageUtilization"] == 60
    container(server_pod(rendering), metric["containerResource"]["container"])
    assert (specification["minReplicas"], specification["maxReplicas"]) == (2, 8)


def test_pods_may_follow_a_metric_of_ovms_that_is_switched_on() -> None:
    rendering = render("autoscaling", {"autoscaling": {"metric": "requests", "target": 6}})
    (metric,) = rendering.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "6"}
    name = metric["pods"]["metric"]["name"]
    assert name in server_config(rendering)["monitoring"]["metrics"]["metrics_list"]


def test_each_track_with_a_weight_has_its_own() -> None:
    tracks = {
        "stable": {"weight": 60},
        "candidate": {"version": 2, "weight": 40},
        "idle": {"version": 3, "weight": 0},
    }
    targets = {
        one["spec"]["scaleTargetRef"]["name"]
        for one in render("autoscaling", {"tracks": tracks}).all("HorizontalPodAutoscaler")
    }
    assert targets == {"bert-qa-stable", "bert-qa-candidate"}


def test_pods_go_slowly() -> None:
    behavior = render("autoscaling").one("HorizontalPodAutoscaler")["spec"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_keda_takes_its_place() -> None:
    assert not render("keda").all("HorizontalPodAutoscaler")
