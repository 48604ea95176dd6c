"""templates/service.yaml: one Service for the greatest share, one a track, a headless one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.deploy.helm.golden import RELEASED
from tests.support.chart import SCENARIOS, Manifest, Rendering, render


def selected(rendering: Rendering, service: str) -> set[str]:
    """The tracks whose pods a Service reaches."""
    selector = rendering.one("Service", service)["spec"]["selector"].items()
    return {
        labels["bert-qa/track"]
        for deployment in rendering.all("Deployment")
        if selector <= (labels := deployment["spec"]["template"]["metadata"]["labels"]).items()
    }


def ports(service: Manifest) -> dict[str, int]:
    return {port["name"]: port["port"] for port in service["spec"]["ports"]}


def test_each_track_has_a_service_of_its_own() -> None:
    rendering = render("tracks")
    assert selected(rendering, "bert-qa-stable") == {"stable"}
    assert selected(rendering, "bert-qa-candidate") == {"candidate"}


@pytest.mark.parametrize(
    ("weights", "reached"),
    [
        ({"stable": 90, "candidate": 10}, "stable"),
        ({"stable": 10, "candidate": 90}, "candidate"),
        ({"stable": 0, "candidate": 100}, "candidate"),
        ({"stable": 50, "candidate": 50}, "stable"),
        ({"stable": 20, "v2": 40, "v3": 40}, "v2"),
        ({"v2": 100}, "v2"),
    ],
)
@pytest.mark.parametrize("service", ["bert-qa", "bert-qa-headless"])
@pytest.mark.parametrize("gateway", [False, True])
def test_the_shared_services_reach_the_one_track_with_the_greatest_weight(
    weights: dict[str, int], reached: str, service: str, gateway: bool
) -> None:
    numbered = enumerate(weights.items(), start=1)
    tracks = {name: {"version": number, "weight": weight} for number, (name, weight) in numbered}
    unused = {"stable": None, "candidate": None}
    values = {"tracks": {**unused, **tracks}, "gateway": {"enabled": gateway}}
    assert selected(render("tracks", values), service) == {reached}


def test_the_headless_service_has_the_addresses_of_the_pods() -> None:
    assert render("tracks").one("Service", "bert-qa-headless")["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("version", sorted(RELEASED.glob("*.yaml")), ids=lambda path: path.stem)
def test_pods_of_a_released_chart_are_reached_before_they_are_replaced(version: Path) -> None:
    released = yaml.safe_load(version.read_text(encoding="utf-8"))["tracks"]
    old = released["Deployment bert-qa-stable"]["spec.selector"]["matchLabels"]
    for service in ("bert-qa", "bert-qa-headless", "bert-qa-stable"):
        selector = render("tracks").one("Service", service)["spec"]["selector"]
        assert selector.items() <= old.items()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_services_for_users_have_the_ports_of_grpc_and_rest_and_no_other(scenario: str) -> None:
    services = {one["metadata"]["name"]: ports(one) for one in render(scenario).all("Service")}
    services.pop("bert-qa-metrics", None)
    assert ("bert-qa" in services) is not scenario.startswith("kserve")
    assert all(found == {"grpc": 9000, "rest": 8000} for found in services.values())


def test_gateways_learn_the_protocol() -> None:
    for scenario, expected in (
        ("pvc", {"grpc": "kubernetes.io/h2c", "rest": "http"}),
        ("tls", {"grpc": "https", "rest": "https"}),
        ("mutual-tls", {"grpc": "https", "rest": "https"}),
    ):
        for name in ("bert-qa", "bert-qa-stable", "bert-qa-headless"):
            service = render(scenario).one("Service", name)["spec"]
            assert {port["name"]: port["appProtocol"] for port in service["ports"]} == expected


def test_the_service_may_be_a_load_balancer_with_annotations() -> None:
    values = {"service": {"type": "LoadBalancer", "annotations": {"internal": "true"}}}
    service = render(values=values).one("Service", "bert-qa")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"internal": "true"}


def test_annotations_of_ones_own_stand_beside_that_of_a_switch() -> None:
    values = {"service": {"annotations": {"internal": "true"}}, "rollout": {"good": "1=100"}}
    annotations = render(values=values).one("Service", "bert-qa")["metadata"]["annotations"]
    assert annotations == {"internal": "true", "bert-qa/good-split": "1=100"}


def test_there_is_no_service_under_kserve() -> None:
    assert not render("kserve").all("Service")
