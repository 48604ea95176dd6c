"""`size`: what servers, proxies and the HTTP API get where their own resources do not say it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.helm.test_notes import notes
from tests.support.chart import container, pod_specs, refusal, render, server_pod

SIZES = ("small", "medium", "large")
LAPTOP_MILLICPUS, SYSTEM_MILLICPUS = 4000, 950
"""A node of a laptop's cluster, and what Kubernetes itself asks of it (kind, 1.36)."""


def resources(values: dict[str, Any], name: str = "ovms") -> dict[str, dict[str, Any]]:
    pod = server_pod(render("default", values))
    found: dict[str, dict[str, Any]] = container(pod, name)["resources"]
    return found


def millicpus(quantity: object) -> int:
    text = str(quantity)
    return int(text.removesuffix("m")) if text.endswith("m") else 1000 * int(text)


def test_what_the_chart_has_without_values_fits_a_laptop() -> None:
    rendering = render("default")
    pods = {"Deployment": 2, "Pod": 1}
    asked = sum(
        pods[name.split()[0]]
        * sum(
            millicpus(one["resources"]["requests"]["cpu"])
            for one in [*pod["containers"], *pod.get("initContainers", [])]
        )
        for name, pod in pod_specs(rendering).items()
        if not name.startswith("Pod ")  # `helm test` asks when all are there.
    )
    assert asked <= LAPTOP_MILLICPUS - SYSTEM_MILLICPUS


@pytest.mark.parametrize("size", SIZES)
def test_servers_of_every_size_are_guaranteed_whole_cpus(size: str) -> None:
    found = resources({"size": size})
    assert found["limits"] == found["requests"]
    assert millicpus(found["limits"]["cpu"]) % 1000 == 0
    proxy = resources({"size": size}, "proxy")
    assert proxy["limits"] == proxy["requests"]


@pytest.mark.parametrize("name", ["ovms", "proxy"])
def test_sizes_ascend(name: str) -> None:
    found = [millicpus(resources({"size": size}, name)["limits"]["cpu"]) for size in SIZES]
    assert found == sorted(found)
    assert found[0] < found[-1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"limits": {"cpu": "3"}},
            {
                "limits": {"cpu": "3", "memory": "4Gi"},
                "requests": {"cpu": "3", "memory": "4Gi"},
            },
        ),
        (
            {"limits": {"memory": "8Gi"}, "requests": {"cpu": "2"}},
            {"limits": {"memory": "8Gi"}, "requests": {"cpu": "2", "memory": "8Gi"}},
        ),
        (
            {"limits": {"cpu": "2", "hugepages-2Mi": "1Gi"}},
            {
                "limits": {"cpu": "2", "memory": "4Gi", "hugepages-2Mi": "1Gi"},
                "requests": {"cpu": "2", "memory": "4Gi", "hugepages-2Mi": "1Gi"},
            },
        ),
    ],
)
def test_resources_take_from_the_size_only_what_they_do_not_name(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    values = {"size": "medium", "resources": given, "xeon": {"wholeCpus": False}}
    assert resources(values) == expected


def test_a_track_takes_from_the_resources_only_what_it_does_not_name() -> None:
    track = {"tracks": {"stable": {"resources": {"limits": {"memory": "8Gi"}}}}}
    expected = {"cpu": "2", "memory": "8Gi"}
    for given in (
        {"limits": {"cpu": "2", "memory": "6Gi"}},
        {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}},
    ):
        found = resources({**track, "resources": given})
        assert found == {"limits": expected, "requests": expected}
    assert resources(track)["limits"] == {"cpu": "1", "memory": "8Gi"}


def http_api_resources(given: dict[str, Any]) -> dict[str, dict[str, Any]]:
    rendering = render("default", {"size": "medium", "httpApi": {"resources": given}})
    pod = pod_specs(rendering)["Deployment bert-qa-http-api"]
    found: dict[str, dict[str, Any]] = container(pod, "http-api")["resources"]
    return found


def test_another_limit_leaves_a_smaller_request_as_it_is() -> None:
    """A release of 0.1.0 that raised the limit asked a node for no more than before."""
    assert http_api_resources({"limits": {"cpu": "4"}}) == {
        "limits": {"cpu": "4", "memory": "1Gi"},
        "requests": {"cpu": "250m", "memory": "512Mi"},
    }
    assert http_api_resources({"limits": {"cpu": "100m"}})["requests"]["cpu"] == "100m"


def test_a_quantity_that_is_null_is_none() -> None:
    assert http_api_resources({"limits": {"cpu": None}}) == {
        "limits": {"memory": "1Gi"},
        "requests": {"cpu": "250m", "memory": "512Mi"},
    }
    values: dict[str, Any] = {"resources": {"limits": {"cpu": None}}, "xeon": {"wholeCpus": False}}
    assert resources(values) == {"limits": {"memory": "2Gi"}, "requests": {"memory": "2Gi"}}
    track = {"tracks": {"stable": {"resources": values["resources"]}}}
    assert resources({**track, "xeon": {"wholeCpus": False}}) == resources(values)


def test_limits_or_requests_that_are_null_are_those_of_the_size() -> None:
    nothing: dict[str, Any] = {"limits": None, "requests": None}
    everywhere = {"resources": nothing, "tracks": {"stable": {"resources": nothing}}}
    assert resources(everywhere) == resources({})
    assert http_api_resources(nothing) == http_api_resources({})


def test_what_asks_for_no_cpus_is_not_scaled_by_a_percent_of_them() -> None:
    nothing = {"resources": {"limits": {"cpu": None}, "requests": {"cpu": None}}}
    scaled = {"autoscaling": {"enabled": True}}
    values = {**nothing, **scaled, "xeon": {"wholeCpus": False}}
    assert "The track stable asks for no CPUs" in refusal(values)
    assert render("pvc", {**values, "autoscaling": {"enabled": True, "metric": "requests"}}).objects
    assert "The HTTP API asks for no CPUs" in refusal({"httpApi": {**nothing, **scaled}})


def test_the_http_api_may_ask_for_less_than_its_limit() -> None:
    pod = pod_specs(render("default"))["Deployment bert-qa-http-api"]
    found = container(pod, "http-api")["resources"]
    assert millicpus(found["requests"]["cpu"]) < millicpus(found["limits"]["cpu"])


def test_the_notes_say_what_a_pod_needs_and_why_it_may_wait() -> None:
    printed = notes("default")
    assert "pods of 1.25 CPUs and 2304Mi" in printed
    assert "stays Pending" in printed
    assert "pods of 17 CPUs and 16896Mi" in notes("default", {"size": "large"})
