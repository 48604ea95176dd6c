"""templates/switch.yaml: what `bert-qa switch --in-cluster` runs with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from tests.support.chart import SCENARIOS, Manifest, Rendering, container, refusal, render


def goes_with_it(scenario: str) -> bool:
    """Whether neither KServe nor Argo Rollouts moves the traffic, and there is no host path."""
    values = yaml.safe_load(SCENARIOS[scenario].read_text(encoding="utf-8"))
    others = (values.get(name, {}).get("enabled") for name in ("kserve", "rollouts"))
    return not any(others) and "hostPath" not in values.get("model", {})


POSSIBLE = [name for name in SCENARIOS if goes_with_it(name)]
GATEWAY = {
    "gateway": {
        "enabled": True,
        "http": {"parentRefs": [{"name": "rest"}]},
        "grpc": {"parentRefs": [{"name": "grpc"}]},
    }
}

# What a switch needs beside the objects of the chart: Helm's storage, the pods' metrics, and a look
# whether the release has a Rollout that would be left behind.
ELSE = {
    ("", "secrets"): {"get", "list", "create", "update", "delete"},
    ("", "pods"): {"get", "list", "patch"},
    ("", "pods/portforward"): {"get", "create"},
    ("discovery.k8s.io", "endpointslices"): {"list"},
    ("argoproj.io", "rollouts"): {"get"},
}
# Kinds that are waited for.
LISTED = {"services", "deployments", "httproutes", "grpcroutes"}

Rights = dict[tuple[str, str], set[str]]


def with_switch(scenario: str, changes: dict[str, Any] | None = None) -> Rendering:
    return render(scenario, {"switch": {"enabled": True}, **(changes or {})})


def rights(rendering: Rendering) -> Rights:
    found: Rights = {}
    for rule in rendering.one("Role")["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        ((group,), (resource,)) = rule["apiGroups"], rule["resources"]
        assert (group, resource) not in found
        found[group, resource] = set(rule["verbs"])
    return found


def resource(found: Manifest) -> tuple[str, str]:
    """The API group and the plural of an object's kind."""
    group = found["apiVersion"].rpartition("/")[0]
    kind = found["kind"].lower()
    return group, kind.removesuffix("y") + "ies" if kind.endswith("y") else f"{kind}s"


def needed(states: Iterable[Rendering]) -> Rights:
    """What upgrades between some states ask for: what is in all of them is read and applied."""
    objects = [
        {
            (*resource(found), found["metadata"]["name"])
            for found in state.objects
            if "helm.sh/hook" not in found["metadata"].get("annotations", {})
        }
        for state in states
    ]
    always = set.intersection(*objects)
    wanted: Rights = {}
    for group, plural, name in set.union(*objects):
        verbs = wanted.setdefault((group, plural), {"get", "patch"})
        if (group, plural, name) not in always:
            verbs |= {"create", "delete"}
        if plural in LISTED:
            verbs.add("list")
    return wanted


def states(scenario: str, changes: dict[str, Any]) -> list[Rendering]:
    """A release before, in the middle of, and after a switch from version 1 to 2."""
    none = dict.fromkeys(("stable", "candidate", "v2"))
    old, new = {"version": 1, "replicas": 2}, {"version": 2, "replicas": 2}
    tracks = [
        {"stable": {**old, "weight": 100}},
        {"stable": {**old, "weight": 100}, "v2": {**new, "weight": 0}},
        {"stable": {**old, "weight": 0}, "v2": {**new, "weight": 100}},
        {"v2": {**new, "weight": 100}},
    ]
    return [with_switch(scenario, {**changes, "tracks": {**none, **each}}) for each in tracks]


@pytest.mark.parametrize("changes", [{}, GATEWAY], ids=["as it is", "with a gateway"])
@pytest.mark.parametrize("scenario", POSSIBLE)
def test_the_role_allows_what_a_switch_needs_and_nothing_else(
    scenario: str, changes: dict[str, Any]
) -> None:
    if changes and scenario == "mutual-tls":
        changes = {}
    if changes and "tls" in scenario:
        changes = {"gateway": {**changes["gateway"], "backendCAConfigMap": "ca"}}
    if "gateway" in scenario or scenario == "tracks":
        changes = {}
    renderings = states(scenario, changes)
    wanted = {**needed(renderings), **ELSE}
    for each in renderings:
        assert rights(each) == wanted


def test_the_role_counts_in_the_namespace_for_the_switch_alone() -> None:
    rendering = with_switch("pvc")
    assert not [one for one in rendering.objects if one["kind"].startswith("Cluster")]
    binding = rendering.one("RoleBinding")
    name = {"name": "bert-qa-switch"}
    assert binding["roleRef"].items() >= {"kind": "Role", **name}.items()
    assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "ml", **name}]
    pod = rendering.one("PodTemplate")["template"]["spec"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (name["name"], True)
    assert rendering.one("ServiceAccount", name["name"])["automountServiceAccountToken"] is False


def test_without_it_there_are_no_rights() -> None:
    rendering = render()
    for kind in ("Role", "RoleBinding", "PodTemplate"):
        assert not rendering.all(kind)
    assert len(rendering.all("ServiceAccount")) == 1


def test_no_service_selects_its_pod_which_reaches_the_api_server() -> None:
    rendering = with_switch("pvc")
    labels = rendering.one("PodTemplate")["template"]["metadata"]["labels"].items()
    for service in rendering.all("Service"):
        assert not service["spec"]["selector"].items() <= labels
    policy = rendering.one("NetworkPolicy", "bert-qa-switch")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 5353, 443, 6443}


def test_its_image_resources_and_place_are_those_of_the_values() -> None:
    switch = {"enabled": True, "image": "r.example/s:7", "resources": {"limits": {"cpu": "2"}}}
    values = {
        "switch": switch,
        "imagePullSecrets": [{"name": "mine"}],
        "nodeSelector": {"pool": "qa"},
    }
    pod = render(values=values).one("PodTemplate")["template"]["spec"]
    found = container(pod, "switch")
    assert found["image"] == "r.example/s:7"
    assert found["resources"]["limits"]["cpu"] == "2"
    assert pod["imagePullSecrets"] == [{"name": "mine"}]
    assert pod["nodeSelector"] == {"kubernetes.io/arch": "amd64", "pool": "qa"}


def test_it_writes_to_scratch_space_alone() -> None:
    pod = with_switch("pvc").one("PodTemplate")["template"]["spec"]
    found = container(pod, "switch")
    places = {each["name"]: each["value"] for each in found["env"]}
    assert all(place.startswith("/tmp") for place in places.values())
    assert {"name": "scratch", "mountPath": "/tmp"} in found["volumeMounts"]


@pytest.mark.parametrize(
    ("scenario", "changes", "words"),
    [
        ("kserve", {}, "switch.enabled does not go with kserve.enabled"),
        ("single-node", {}, "switch.enabled does not go with model.hostPath"),
        ("pvc", {"tracks": {"switch": {"version": 2}}}, "A track cannot be called switch"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    scenario: str, changes: dict[str, Any], words: str
) -> None:
    assert words in refusal({"switch": {"enabled": True}, **changes}, scenario)
