"""templates/scaledobject.yaml: KEDA."""

from __future__ import annotations

import re

import pytest

from tests.support.chart import container, render, server_config, server_pod


def test_pods_follow_the_requests_in_progress() -> None:
    rendering = render("keda")
    specification = rendering.one("ScaledObject")["spec"]
    assert specification["scaleTargetRef"]["name"] == "bert-qa-stable"
    (trigger,) = specification["triggers"]
    assert trigger["type"] == "prometheus"
    assert trigger["metadata"]["threshold"] == "4"
    query = trigger["metadata"]["query"]
    assert query == (
        'sum(ovms_current_requests{namespace="ml", pod=~"bert-qa-stable-[^-]+-[^-]+"})'
    )
    metrics = server_config(rendering)["monitoring"]["metrics"]["metrics_list"]
    assert "ovms_current_requests" in metrics


def test_pods_may_follow_the_cpu_of_the_server() -> None:
    rendering = render("keda", {"autoscaling": {"metric": "cpu"}})
    (trigger,) = rendering.one("ScaledObject")["spec"]["triggers"]
    assert trigger["type"] == "cpu"
    container(server_pod(rendering), trigger["metadata"]["containerName"])


def test_a_track_does_not_count_the_requests_of_one_whose_name_begins_like_its_own() -> None:
    tracks = {name: {"version": 2, "weight": 50} for name in ("v2", "v2-large")}
    found = render("keda", {"tracks": {"stable": None, **tracks}}).all("ScaledObject")
    for one in found:
        query = one["spec"]["triggers"][0]["metadata"]["query"]
        (pattern,) = re.findall('pod=~"(.+?)"', query)
        pods = [f"bert-qa-{name}-65f8bc9f8d-x7k2p" for name in tracks]
        counted = [pod for pod in pods if re.fullmatch(pattern, pod)]
        assert counted == [f"{one['metadata']['name']}-65f8bc9f8d-x7k2p"]


@pytest.mark.parametrize("length", [20, 26, 27, 33, 37, 38, 40])
def test_pods_are_counted_whatever_the_length_of_their_names(length: int) -> None:
    """Kubernetes cuts what is before the last five letters of a pod's name to 58."""
    track, fullname = "t" * 20, "n" * length
    values = {
        "fullnameOverride": fullname,
        "tracks": {"stable": None, track: {"version": 2, "weight": 100}},
    }
    (found,) = render("keda", values).all("ScaledObject")
    (pattern,) = re.findall('pod=~"(.+?)"', found["spec"]["triggers"][0]["metadata"]["query"])
    for revision in ("65f8bc9f8d", "7c4b5"):
        pod = f"{fullname}-{track}-{revision}-"[:58] + "x7k2p"
        assert re.fullmatch(pattern, pod)
        assert not re.fullmatch(pattern, f"x{pod}")


def test_a_track_does_not_count_the_requests_of_a_neighbouring_release() -> None:
    query = render("keda").one("ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    (pattern,) = re.findall('pod=~"(.+?)"', query)
    for name in ("bert-qa-2-stable", "bert-qa-stable-stable", "qa-bert-qa-stable"):
        assert not re.fullmatch(pattern, f"{name}-65f8bc9f8d-x7k2p")


def test_pods_go_as_slowly_as_those_of_an_autoscaler_of_kubernetes() -> None:
    keda = render("keda").one("ScaledObject")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]
    hpa = render("autoscaling").one("HorizontalPodAutoscaler")["spec"]
    assert keda["behavior"] == hpa["behavior"]


def test_there_is_none_by_default() -> None:
    assert not render("autoscaling").all("ScaledObject")
