"""templates/_routes.tpl: weights, forced tracks, and versions by their paths."""

from __future__ import annotations

import re

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
    for rule in rules(kind):
        headers = [match.get("headers") for match in rule["matches"]]
        if headers == [None]:
            continue
        ((header,),) = {tuple(map(str, found)) for found in headers}
        assert "x-bert-qa-track" in header
        ((track,),) = {tuple(one["value"] for one in found) for found in headers}
        forced[track] = [backend["name"] for backend in rule["backendRefs"]]
    assert forced == {"candidate": ["bert-qa-candidate"], "stable": ["bert-qa-stable"]}


@kinds
def test_every_rule_matches_the_inference_protocol_alone(kind: str) -> None:
    _, expected = ROUTES[kind]
    for rule in rules(kind):
        for match in rule["matches"]:
            rest = {key: match[key] for key in match if key != "headers"}
            if kind == "HTTPRoute" and rest != expected:
                assert rest["path"]["type"] == "PathPrefix"
                assert re.fullmatch("/v2/models/bert-qa/versions/[12]", rest["path"]["value"])
            else:
                assert rest == expected


def reached(path: str, track: str | None = None, values: Manifest | None = None) -> dict[str, int]:
    """The shares of the tracks that get a REST request, by the precedence of the Gateway API.

    The longest path comes first, then the most headers, then the first rule.
    """
    found = []
    for position, rule in enumerate(rules("HTTPRoute", render("tracks", values))):
        for match in rule["matches"]:
            prefix, headers = match["path"]["value"], match.get("headers", [])
            if f"{path}/".startswith(f"{prefix}/") and all(
                one["value"] == track for one in headers
            ):
                found.append(((-len(prefix), -len(headers), position), rule))
    _, rule = min(found, key=lambda one: one[0])
    shares = {one["name"]: one.get("weight", 1) for one in rule["backendRefs"]}
    return {name.removeprefix("bert-qa-"): share for name, share in shares.items() if share}


MODEL = "/v2/models/bert-qa"


@pytest.mark.parametrize("end", ["", "/infer", "/ready"])
def test_a_request_that_names_a_version_reaches_the_track_that_has_it(end: str) -> None:
    for values in ({}, {"tracks": {"stable": {"weight": 100}, "candidate": {"weight": 0}}}):
        assert list(reached(f"{MODEL}/versions/1{end}", values=values)) == ["stable"]
        assert list(reached(f"{MODEL}/versions/2{end}", values=values)) == ["candidate"]


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/infer", f"{MODEL}/versions/12", "/v2"])
def test_other_requests_are_split_by_weight(path: str) -> None:
    assert reached(path) == {"candidate": 10, "stable": 90}


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1", f"{MODEL}/versions/2/infer"])
def test_the_header_forces_a_track_under_every_path(path: str) -> None:
    for track in ("stable", "candidate"):
        assert list(reached(path, track)) == [track]


def test_tracks_that_have_one_version_share_its_requests() -> None:
    tracks: Manifest = {"candidate": {"version": 1}}
    path = f"{MODEL}/versions/1"
    assert reached(path, values={"tracks": tracks}) == {"candidate": 10, "stable": 90}
    tracks = {"v2": {"version": 2, "weight": 0}, "candidate": {"weight": 0}}
    values = {"tracks": {**tracks, "stable": {"weight": 100}}}
    assert reached(f"{MODEL}/versions/2", values=values) == {"candidate": 1, "v2": 1}


def test_a_track_that_follows_the_latest_version_has_no_rule_of_a_version() -> None:
    assert reached(
        f"{MODEL}/versions/2", values={"tracks": {"candidate": {"version": "latest"}}}
    ) == {
        "candidate": 10,
        "stable": 90,
    }


def test_a_track_without_pods_has_no_rule_of_a_version() -> None:
    """The other track reports that it does not have the version, where no pod would answer."""
    tracks = {"stable": {"weight": 100}, "candidate": {"weight": 0, "replicas": 0}}
    assert reached(f"{MODEL}/versions/2", values={"tracks": tracks}) == {"stable": 100}


def test_versions_are_those_of_the_model() -> None:
    values = {"model": {"name": "other"}}
    assert list(reached("/v2/models/other/versions/2", values=values)) == ["candidate"]


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
