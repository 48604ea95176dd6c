"""A change of weights, which moves traffic: it takes a second and replaces no pod."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.chart import Rendering, is_of_http_api, render

WEIGHTS = ((100, 0), (90, 10), (50, 50), (0, 100))
NAMES = (("stable", "candidate"), ("stable", "v2"), ("v1", "v2"))
PARENTS = {kind: {"parentRefs": [{"name": kind}]} for kind in ("http", "grpc")}
GATEWAYS: dict[str, Mapping[str, Any]] = {
    "no gateway": {},
    "gateway": {"gateway": {"enabled": True, **PARENTS}},
}
AUTOSCALING: dict[str, Mapping[str, Any]] = {
    "fixed": {},
    "hpa": {"autoscaling": {"enabled": True}},
    "keda": {"autoscaling": {"enabled": True, "keda": {"enabled": True}}},
}


def rendered(names: tuple[str, str], weights: tuple[int, int], *values: Mapping[str, Any]) -> Any:
    tracks: dict[str, Any] = {"stable": None}
    for number, (name, weight) in enumerate(zip(names, weights, strict=True), start=1):
        tracks[name] = {"version": number, "weight": weight, "replicas": number}
    given: dict[str, Any] = {"tracks": tracks, "monitoring": {"prometheusRule": {"enabled": True}}}
    for part in values:
        given |= part
    return render(values=given)


def templates(rendering: Rendering) -> dict[str, str]:
    return {
        one["metadata"]["name"]: json.dumps(one["spec"]["template"])
        for one in (*rendering.all("Deployment"), rendering.one("Deployment", "bert-qa-http-api"))
    }


def without_what_moves_traffic(rendering: Rendering) -> str:
    """Everything but routes, autoscalers, alerts, selectors of Services, a Deployment's notes,
    what the HTTP API follows, and the pod of `helm test`, which names the main track.
    """
    kept = []
    for one in json.loads(json.dumps(rendering.objects)):
        match one["kind"]:
            case (
                "HTTPRoute"
                | "GRPCRoute"
                | "HorizontalPodAutoscaler"
                | "ScaledObject"
                | "PrometheusRule"
                | "Pod"
            ):
                continue
            case "Service":
                one["spec"].pop("selector")
            case "ConfigMap" if one["metadata"]["name"] == "bert-qa-http-api":
                one.pop("data")
            case "Deployment" if not is_of_http_api(one):
                one["spec"].pop("replicas", None)
                one["metadata"]["annotations"].pop("bert-qa/weight")
        kept.append(one)
    return json.dumps(kept)


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize("autoscaling", AUTOSCALING)
def test_a_change_of_weights_replaces_no_pod(
    names: tuple[str, str], gateway: str, autoscaling: str
) -> None:
    values = (GATEWAYS[gateway], AUTOSCALING[autoscaling])
    renderings = [rendered(names, weights, *values) for weights in WEIGHTS]
    for before, after in itertools.pairwise(renderings):
        assert templates(before) == templates(after)
        assert len(templates(before)) == 3
        assert without_what_moves_traffic(before) == without_what_moves_traffic(after)


def test_the_shares_of_the_weights_are_noted_on_the_deployments() -> None:
    for weights in WEIGHTS:
        notes = [
            one["metadata"]["annotations"]["bert-qa/weight"]
            for one in rendered(("stable", "v2"), weights).all("Deployment")
        ]
        assert notes == [str(weight) for weight in weights]
