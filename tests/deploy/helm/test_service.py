"""templates/service.yaml: one Service over all tracks, one for each, and a headless one."""

from __future__ import annotations

import pytest

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


def test_one_service_reaches_every_track() -> None:
    assert selected(render("tracks"), "bert-qa") == {"stable", "candidate"}


def test_without_a_gateway_a_track_without_weight_gets_traffic_by_its_own_name_alone() -> None:
    rendering = render(values={"tracks": {"candidate": {"version": 2, "weight": 0}}})
    assert selected(rendering, "bert-qa") == {"stable"}
    assert selected(rendering, "bert-qa-headless") == {"stable"}
    assert selected(rendering, "bert-qa-candidate") == {"candidate"}


def test_the_headless_service_has_the_addresses_of_the_pods() -> None:
    rendering = render("tracks")
    assert rendering.one("Service", "bert-qa-headless")["spec"]["clusterIP"] == "None"
    assert selected(rendering, "bert-qa-headless") == {"stable", "candidate"}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_services_for_users_have_the_ports_of_grpc_and_rest_and_no_other(scenario: str) -> None:
    services = {one["metadata"]["name"]: ports(one) for one in render(scenario).all("Service")}
    services.pop("bert-qa-metrics", None)
    assert ("bert-qa" in services) is (scenario != "kserve")
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


def test_there_is_no_service_under_kserve() -> None:
    assert not render("kserve").all("Service")
