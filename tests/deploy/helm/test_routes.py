"""templates/_routes.tpl, what both routes share: weights and forced tracks."""

from __future__ import annotations

import pytest

from tests.support.chart import Manifest, Rendering, render

ROUTES = {
    "HTTPRoute": (8000, {"path": {"type": "PathPrefix", "value": "/v2"}}),
    "GRPCRoute": (9000, {"method": {"type": "Exact", "service": "inference.GRPCInferenceService"}}),
}
kinds = pytest.mark.parametrize("kind", ROUTES)


def rules(kind: str, rendering: Rendering | None = None) -> list[Manifest]:
    found: list[Manifest] = (rendering or render("tracks")).one(kind)["spec"]["rules"]
    return found


@kinds
def test_the_last_rule_splits_traffic_by_weight(kind: str) -> None:
    port, _ = ROUTES[kind]
    rule = rules(kind)[-1]
    assert rule["backendRefs"] == [
        {"name": "bert-qa-candidate", "port": port, "weight": 10},
        {"name": "bert-qa-stable", "port": port, "weight": 90},
    ]
    assert all("headers" not in match for match in rule["matches"])


@kinds
def test_a_header_forces_each_track(kind: str) -> None:
    forced = {}
    for rule in rules(kind)[:-1]:
        (match,) = rule["matches"]
        (header,) = match["headers"]
        assert header["name"] == "x-bert-qa-track"
        forced[header["value"]] = [backend["name"] for backend in rule["backendRefs"]]
    assert forced == {"candidate": ["bert-qa-candidate"], "stable": ["bert-qa-stable"]}


@kinds
def test_every_rule_matches_the_inference_protocol_alone(kind: str) -> None:
    _, expected = ROUTES[kind]
    for rule in rules(kind):
        for match in rule["matches"]:
            assert {key: match[key] for key in match if key != "headers"} == expected


@kinds
def test_every_backend_is_a_service_that_exists(kind: str) -> None:
    rendering = render("tracks")
    services = {one["metadata"]["name"] for one in rendering.all("Service")}
    for rule in rules(kind, rendering):
        assert {backend["name"] for backend in rule["backendRefs"]} <= services


@kinds
def test_a_track_without_weight_stays_behind_the_route(kind: str) -> None:
    rendering = render(
        "tracks", {"tracks": {"stable": {"weight": 100}, "candidate": {"weight": 0}}}
    )
    weights = {one["name"]: one["weight"] for one in rules(kind, rendering)[-1]["backendRefs"]}
    assert weights == {"bert-qa-candidate": 0, "bert-qa-stable": 100}


@kinds
def test_the_header_may_be_another(kind: str) -> None:
    rendering = render("tracks", {"gateway": {"header": "x-variant"}})
    assert rules(kind, rendering)[0]["matches"][0]["headers"][0]["name"] == "x-variant"


@kinds
def test_there_is_no_route_by_default(kind: str) -> None:
    assert not render().all(kind)
