"""templates/rollout.yaml: Argo Rollouts instead of a Deployment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.helm.rules import alerts
from tests.deploy.helm.schemas import kubernetes_schema
from tests.support.chart import (
    Manifest,
    container,
    pod_template,
    render,
    server_config,
    server_pod,
)


def canary(values: dict[str, Any] | None = None) -> Manifest:
    found: Manifest = render("rollouts", values).one("Rollout")["spec"]["strategy"]["canary"]
    return found


def test_it_takes_the_place_of_the_deployment() -> None:
    rendering = render("rollouts")
    assert not rendering.all("Deployment")
    rollout, deployment = rendering.one("Rollout"), render().one("Deployment")
    assert rollout["metadata"]["name"] == deployment["metadata"]["name"] == "bert-qa-stable"
    assert rollout["metadata"]["annotations"] == deployment["metadata"]["annotations"]
    for field in ("replicas", "selector", "minReadySeconds", "progressDeadlineSeconds"):
        assert rollout["spec"][field] == deployment["spec"][field]
    assert not render().all("Rollout")


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_its_pods_hold_to_the_schemas_of_kubernetes(version: str) -> None:
    template = pod_template(render("rollouts", kubernetes=f"{version}.0"))
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    kubernetes_schema("v1", "Pod", version).validate(pod)


def test_its_pods_are_those_of_a_deployment_but_for_where_their_files_come_from() -> None:
    rollouts, deployments = server_pod(render("rollouts")), server_pod(render())
    for name in ("ovms", "proxy"):
        assert container(rollouts, name) == container(deployments, name)
    own = {"volumes", "topologySpreadConstraints"}
    assert {key: rollouts[key] for key in rollouts.keys() - own} == {
        key: deployments[key] for key in deployments.keys() - own
    }
    assert [one["name"] for one in rollouts["volumes"]] == [
        one["name"] for one in deployments["volumes"]
    ]


@pytest.mark.parametrize(
    ("values", "files"),
    [
        ({}, {"envoy.yaml"}),
        (
            {
                "tls": {"enabled": True, "secretName": "certificate"},
                "gateway": {"backendCAConfigMap": "ca"},
            },
            {"envoy.yaml", "server-secret.yaml"},
        ),
    ],
)
def test_a_pod_that_is_replaced_starts_with_the_files_that_it_had(
    values: dict[str, Any], files: set[str]
) -> None:
    rendering = render("rollouts", values)
    assert not rendering.all("ConfigMap"), "an upgrade would change it under the stable version"
    template = pod_template(rendering)
    volumes = {one["name"]: one for one in template["spec"]["volumes"]}
    found = {}
    for name in ("server-config", "proxy-config"):
        for item in volumes[name]["downwardAPI"]["items"]:
            path = item["fieldRef"]["fieldPath"]
            key = path.removeprefix("metadata.annotations['").removesuffix("']")
            found[item["path"]] = template["metadata"]["annotations"][key]
    assert set(found) == {"config.json"} | files
    settings = render("pvc").one("ConfigMap", "bert-qa-stable")["data"]["config.json"]
    assert found["config.json"].strip() == settings.strip()
    if not values:
        proxy = render("pvc").one("ConfigMap", "bert-qa-proxy")["data"]["envoy.yaml"]
        assert found["envoy.yaml"].strip() == proxy.strip()


def test_another_version_makes_other_pods_and_changes_nothing_outside_of_them() -> None:
    before = render("rollouts")
    after = render("rollouts", {"tracks": {"stable": {"version": 2}}})
    policy = server_config(after)["model_config_list"][0]["config"]["model_version_policy"]
    assert policy == {"specific": {"versions": [2]}}
    assert pod_template(before) != pod_template(after)
    changed = {"Rollout", "HTTPRoute", "Pod"}  # The pod is that of `helm test`, and names it.
    others = [one for one in before.objects if one["kind"] not in changed]
    assert others == [one for one in after.objects if one["kind"] not in changed]


def test_every_service_and_route_that_it_names_exists() -> None:
    rendering = render("rollouts")
    services = {one["metadata"]["name"]: one for one in rendering.all("Service")}
    for key in ("stableService", "canaryService"):
        assert "selector" not in services[canary()[key]]["spec"], "it is Argo's to set"
    plugin = canary()["trafficRouting"]["plugins"]["argoproj-labs/gatewayAPI"]
    assert plugin["namespace"] == "ml"
    for key, kind in (("httpRoutes", "HTTPRoute"), ("grpcRoutes", "GRPCRoute")):
        (route,) = plugin[key]
        assert rendering.one(kind)["metadata"]["name"] == route["name"]
        assert route["useHeaderRoutes"] is False, "else the plugin removes the header's rule"


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_the_weights_that_the_plugin_sets_never_leave_a_rule_with_none(kind: str) -> None:
    stable, new = canary()["stableService"], canary()["canaryService"]
    rules = render("rollouts").one(kind)["spec"]["rules"]
    both = []
    for rule in rules:
        weights = {one["name"]: one.get("weight", 1) for one in rule["backendRefs"]}
        if len(weights) > 1:
            both.append(weights)
        else:
            assert stable not in weights, "the plugin would give it the weight 0 at the last step"
    assert both == [{new: 0, stable: 100}]


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_header_forces_the_new_version_or_the_one_before(kind: str) -> None:
    forced = {}
    for rule in render("rollouts").one(kind)["spec"]["rules"]:
        for match in rule["matches"]:
            for header in match.get("headers", []):
                (backend,) = rule["backendRefs"]
                forced[header["value"]] = backend["name"]
    assert forced == {"stable": "bert-qa", "canary": "bert-qa-canary"}


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_route_names_every_default_so_that_an_upgrade_repeats_what_the_plugin_wrote(
    kind: str,
) -> None:
    for rule in render("rollouts").one(kind)["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            assert (backend["group"], backend["kind"]) == ("", "Service")
            assert "weight" in backend
        for match in rule["matches"]:
            assert all(header["type"] == "Exact" for header in match.get("headers", []))
            (found,) = [match[key] for key in ("path", "method") if key in match]
            assert "type" in found


def test_services_beside_the_gateway_reach_the_stable_version_alone() -> None:
    rendering = render("rollouts")
    role = canary()["stableMetadata"]["labels"]
    assert canary()["canaryMetadata"]["labels"] != role
    for name in ("bert-qa", "bert-qa-headless"):
        assert role.items() <= rendering.one("Service", name)["spec"]["selector"].items()
    assert role.keys().isdisjoint(pod_template(rendering)["metadata"]["labels"])
    metrics = rendering.one("Service", "bert-qa-metrics")["spec"]["selector"].items()
    assert metrics <= pod_template(rendering)["metadata"]["labels"].items()


def test_steps_and_what_is_judged_at_each() -> None:
    steps = canary({"rollouts": {"steps": [10, 100]}})["steps"]
    assert [step["setWeight"] for step in steps[::2]] == [10, 100]
    names = [[one["templateName"] for one in step["analysis"]["templates"]] for step in steps[1::2]]
    assert names == [["bert-qa-errors", "bert-qa-latency"], ["bert-qa-errors"]]
    assert [step["setWeight"] for step in canary()["steps"][::2]] == [5, 25, 50, 100]


def test_each_step_passes_its_analyses_the_arguments_that_they_take() -> None:
    templates = {
        one["metadata"]["name"]: {arg["name"] for arg in one["spec"]["args"]}
        for one in render("rollouts").all("AnalysisTemplate")
    }
    hashes = {"canary-hash": "Latest", "stable-hash": "Stable"}
    for step in canary()["steps"][1::2]:
        taken: set[str] = set()
        for one in step["analysis"]["templates"]:
            taken |= templates[one["templateName"]]
        given = {
            arg["name"]: arg["valueFrom"]["podTemplateHashValue"]
            for arg in step["analysis"]["args"]
        }
        assert given == {name: hashes[name] for name in taken}


def test_a_version_that_does_not_get_ready_is_given_up() -> None:
    rollout = render("rollouts", {"server": {"startupSeconds": 100}}).one("Rollout")["spec"]
    assert rollout["progressDeadlineAbort"] is True
    assert rollout["progressDeadlineSeconds"] == 400


def test_no_pod_goes_before_its_successor_is_ready_and_a_canary_has_two() -> None:
    assert (canary()["maxSurge"], canary()["maxUnavailable"]) == (1, 0)
    assert canary()["minPodsPerReplicaSet"] == 2
    assert canary({"tracks": {"stable": {"replicas": 1}}})["minPodsPerReplicaSet"] == 1
    assert canary({"tracks": {"stable": {"replicas": 9}}})["minPodsPerReplicaSet"] == 2


def test_the_autoscaler_scales_it() -> None:
    rendering = render("rollouts", {"autoscaling": {"enabled": True}})
    rollout = rendering.one("Rollout")
    assert "replicas" not in rollout["spec"]
    target = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "name": rollout["metadata"]["name"],
    }
    assert rendering.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"] == target
    keda = render("rollouts", {"autoscaling": {"enabled": True, "keda": {"enabled": True}}})
    assert keda.one("ScaledObject")["spec"]["scaleTargetRef"] == target


def test_budget_and_policies_choose_its_pods() -> None:
    rendering = render("rollouts")
    labels = pod_template(rendering)["metadata"]["labels"].items()
    budget = rendering.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels
    policy = rendering.one("NetworkPolicy", "bert-qa-server")["spec"]["podSelector"]
    assert policy["matchLabels"].items() <= labels
    assert rendering.one("Rollout")["spec"]["selector"]["matchLabels"].items() <= labels


def test_pods_of_each_version_are_spread_by_themselves() -> None:
    for constraint in server_pod(render("rollouts"))["topologySpreadConstraints"]:
        assert constraint["matchLabelKeys"] == ["rollouts-pod-template-hash"]


def test_a_gateway_trusts_the_servers_of_every_service_that_a_route_names() -> None:
    rendering = render("rollouts", TLS)
    policy = rendering.one("BackendTLSPolicy")["spec"]["targetRefs"]
    routed = {
        backend["name"]
        for rule in rendering.one("HTTPRoute")["spec"]["rules"]
        for backend in rule["backendRefs"]
    }
    assert routed == {one["name"] for one in policy}
    names = rendering.one("Certificate")["spec"]["dnsNames"]
    assert {f"{name}.ml.svc" for name in routed} <= set(names)


TLS = {
    "tls": {"enabled": True, "issuerRef": {"name": "internal"}},
    "gateway": {"backendCAConfigMap": "ca"},
}


def test_alerts_count_the_pods_of_its_replica_sets() -> None:
    found = alerts("rollouts")
    pods = '{namespace="ml", replicaset=~"bert-qa-stable-[^-]+"}'
    ready = f"kube_replicaset_status_ready_replicas{pods}"
    wanted = f"kube_replicaset_spec_replicas{pods}"
    was_ready = f"max_over_time({ready}[10m]) > 0"
    down = f"sum({ready}) == 0 or on () ({ready} == 0 and {wanted} > 0 and {was_ready})"
    assert found["BertQAServiceDown"]["expr"].split() == down.split()
    expected = f"{ready} == 0 and {wanted} > 0"
    assert found["BertQATrackDown"]["expr"].split() == expected.split()
    assert "bert-qa-stable" in found["BertQAServiceDown"]["annotations"]["summary"]
    assert "$labels.replicaset" in found["BertQATrackDown"]["annotations"]["summary"]
    for name in ("BertQAServiceDown", "BertQATrackDown"):
        assert "deployment" not in str(found[name])
