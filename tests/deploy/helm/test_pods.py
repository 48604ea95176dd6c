"""_pod.tpl and _names.tpl: what values add to every pod, and the names of objects."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.chart import (
    CHART,
    SCENARIOS,
    Manifest,
    container,
    pod_specs,
    pod_template,
    refusal,
    render,
    server_pod,
)
from tools.programs import helm

PROXY = {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}
AUTHORITY = {"name": "authority-of-ours", "configMap": {"name": "authority"}}
MOUNT = {"name": "authority-of-ours", "mountPath": "/etc/ssl/ours", "readOnly": True}
AFFINITY: Manifest = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}
EVERYWHERE: dict[str, Any] = {
    "env": [PROXY],
    "envFrom": [{"secretRef": {"name": "more"}}],
    "volumes": [AUTHORITY],
    "volumeMounts": [MOUNT],
    "affinity": AFFINITY,
    "runtimeClassName": "kata",
}


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.keys() - {"kubeflow"}))
def test_every_pod_and_container_has_what_is_given(scenario: str) -> None:
    """But for a TrainJob, which has no place for some of it: the chart refuses that."""
    for pod in pod_specs(render(scenario, EVERYWHERE)).values():
        assert pod["affinity"] == AFFINITY
        assert pod["runtimeClassName"] == "kata"
        assert AUTHORITY in pod["volumes"]
        for one in containers(pod):
            assert one["env"][-1] == PROXY
            assert one["envFrom"][-1] == {"secretRef": {"name": "more"}}
            assert one["volumeMounts"][-1] == MOUNT


@pytest.mark.parametrize("scenario", ["image", "kserve-standard", "switch", "training"])
def test_users_and_groups_can_be_left_to_the_platform(scenario: str) -> None:
    nobody = {"runAsUser": None, "runAsGroup": None}
    values = {"podSecurityContext": {**nobody, "fsGroup": None}, "containerSecurityContext": nobody}
    for pod in pod_specs(render(scenario, values)).values():
        for security in (pod.get("securityContext", {}), *map(security_of, containers(pod))):
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys()
        assert all(security_of(one)["runAsNonRoot"] for one in containers(pod))


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.keys() - {"kserve"}))
def test_whatever_moves_the_traffic_servers_are_watched_and_end_alike(scenario: str) -> None:
    """But for Knative, which drains pods itself and refuses most of it."""
    pods = pod_specs(render(scenario)).values()
    servers = [
        (pod, one)
        for pod in pods
        for one in pod["containers"]
        if "--port=9001" in one.get("args", [])
    ]
    assert servers
    for pod, server in servers:
        path = server["readinessProbe"]["httpGet"]["path"]
        assert path.endswith("/ready")
        assert path.removesuffix("/ready") in server["startupProbe"]["exec"]["command"]
        assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
        most = int(server["lifecycle"]["preStop"]["exec"]["command"][-3])
        assert pod["terminationGracePeriodSeconds"] >= most + 10
        assert container(pod, "proxy")["restartPolicy"] == "Always"


def pod_metadata(found: Manifest) -> list[Manifest]:
    """The metadata of the pods that an object makes, or is."""
    match found["kind"]:
        case "Pod":
            return [found["metadata"]]
        case "PodTemplate":
            return [found["template"]["metadata"]]
        case "Deployment" | "Job" | "Rollout":
            return [found["spec"]["template"]["metadata"]]
        case "InferenceService":
            return [found["spec"][p] for p in ("predictor", "transformer") if p in found["spec"]]
    return []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_pod_has_the_labels_and_annotations_that_are_given(scenario: str) -> None:
    given = {"podLabels": {"cost": "qa"}, "podAnnotations": {"mesh.example/inject": "false"}}
    before, after = render(scenario), render(scenario, given)
    pods = [one for found in after.objects for one in pod_metadata(found)]
    assert len(pods) == len(pod_specs(after))
    for one in pods:
        assert one["labels"]["cost"] == "qa"
        assert one["annotations"]["mesh.example/inject"] == "false"
    own = [one for found in before.objects for one in pod_metadata(found)]
    for one, without in zip(pods, own, strict=True):
        for key in ("labels", "annotations"):
            assert without.get(key, {}).items() <= one[key].items()


def test_an_annotation_of_ones_own_takes_the_place_of_that_for_knative() -> None:
    key = "serving.knative.dev/progress-deadline"
    service = render("kserve", {"podAnnotations": {key: "99s"}}).one("InferenceService")
    assert {one["annotations"][key] for one in pod_metadata(service)} == {"99s"}


def security_of(one: Manifest) -> Manifest:
    return dict(one["securityContext"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_common_labels_are_on_every_object_and_pod(scenario: str) -> None:
    rendering = render(scenario, {"commonLabels": {"team": "answers"}})
    for found in rendering.objects:
        assert found["metadata"]["labels"]["team"] == "answers", found["kind"]
        template = found.get("template") or found.get("spec", {}).get("template")
        if template:
            assert template["metadata"]["labels"]["team"] == "answers"
    selectors = [found["spec"].get("selector") for found in rendering.all("Service")]
    assert "team" not in json.dumps(selectors)


def test_the_server_takes_flags_containers_and_a_life_cycle_of_ones_own() -> None:
    lifecycle = {"preStop": {"sleep": {"seconds": 3}}}
    beside = {"name": "beside", "image": "beside:1"}
    server = {
        "extraArgs": ["--trace_path=x: y"],
        "extraContainers": [beside],
        "lifecycle": lifecycle,
    }
    pod = server_pod(render(values={"server": server}))
    assert container(pod, "ovms")["args"][-1] == "--trace_path=x: y"
    assert container(pod, "ovms")["lifecycle"] == lifecycle
    assert container(pod, "beside") == beside


def test_the_http_api_takes_options_of_ones_own() -> None:
    rendering = render(values={"httpApi": {"extraArgs": ["--record=/tmp/asked"]}})
    (pod,) = [spec for name, spec in pod_specs(rendering).items() if name.endswith("-http-api")]
    assert "--record=/tmp/asked" in container(pod, "http-api")["args"]


def test_further_objects_are_part_of_the_release() -> None:
    objects = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}}
        for name in ("one", "two")
    ]
    rendering = render(values={"extraManifests": objects})
    assert [found for found in rendering.objects if found in objects] == objects


@pytest.mark.parametrize("families", [["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"]])
def test_pods_listen_on_ipv6_where_services_have_it(families: list[str]) -> None:
    rendering = render("monitoring", {"service": {"ipFamilies": families}})
    policy = "PreferDualStack" if len(families) > 1 else "SingleStack"
    for service in [*rendering.all("Service"), *rendering.all("Service", of_http_api=True)]:
        assert service["spec"]["ipFamilies"] == families
        assert service["spec"]["ipFamilyPolicy"] == policy
    (pod,) = [spec for name, spec in pod_specs(rendering).items() if name.endswith("-http-api")]
    assert "--http-host=::" in container(pod, "http-api")["args"]
    envoy = yaml.safe_load(rendering.one("ConfigMap", "bert-qa-proxy")["data"]["envoy.yaml"])
    for listener in envoy["static_resources"]["listeners"]:
        address = listener["address"]["socket_address"]
        assert (address["address"], address["ipv4_compat"]) == ("::", True)


def test_services_have_the_clusters_families_where_none_are_given() -> None:
    rendering = render("monitoring")
    assert not any("ipFamilies" in found["spec"] for found in rendering.all("Service"))


@pytest.mark.parametrize("scenario", ["tracks", "mutual-tls", "kserve", "monitoring", "training"])
def test_all_objects_can_be_in_another_namespace(scenario: str) -> None:
    rendering = render(scenario, {"namespaceOverride": "elsewhere"})
    assert {found["metadata"]["namespace"] for found in rendering.objects} == {"elsewhere"}
    for inside in (".ml.svc", ".ml:", "namespace: ml"):
        assert inside not in rendering.text


def test_a_switch_works_in_the_namespace_of_its_release() -> None:
    assert "switch.enabled does not go with namespaceOverride=elsewhere" in refusal(
        {"namespaceOverride": "elsewhere"}, "switch"
    )


def named(release: str, **values: Any) -> tuple[int, str]:
    """The exit status of helm, and the name of the server's Deployment or the message."""
    values = {"model": {"pvc": {"claimName": "models"}}, **values}
    command = [str(helm()), "template", release, str(CHART), "--values", "-"]
    done = subprocess.run(
        command, input=json.dumps(values), capture_output=True, text=True, check=False
    )
    if done.returncode:
        return done.returncode, done.stderr
    everything = yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)
    kinds = {found["kind"]: found["metadata"]["name"] for found in everything if found}
    return 0, kinds["ServiceAccount"]


def test_names_follow_the_release_and_what_overrides_them() -> None:
    assert named("answers") == (0, "answers-bert-qa")
    assert named("my-bert-qa") == (0, "my-bert-qa")
    assert named("answers", nameOverride="reader") == (0, "answers-reader")
    assert named("answers", fullnameOverride="reader") == (0, "reader")


@pytest.mark.parametrize(
    "releases",
    [("a" * 40, "a" * 40 + "-one", "a" * 40 + "-two"), ("team.answers", "team-answers")],
)
def test_names_that_are_changed_are_not_shared(releases: tuple[str, ...]) -> None:
    names = [named(release)[1] for release in releases]
    assert len(set(names)) == len(releases)
    assert all(re.fullmatch("[-a-z0-9]{1,40}", name) for name in names)


def test_names_that_no_service_can_have_are_refused() -> None:
    status, message = named("1st")
    assert status == 1
    assert "Services cannot be called" in message


def test_pods_of_the_server_have_labels_of_their_own_too() -> None:
    values = {"podLabels": {"team": "servers"}, "commonLabels": {"team": "answers"}}
    assert pod_template(render(values=values))["metadata"]["labels"]["team"] == "servers"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_variable_of_ones_own_is_there_once(scenario: str) -> None:
    given = [{"name": "HOME", "value": "/a"}, {"name": "HOME", "value": "/b"}]
    for pod in pod_specs(render(scenario, {"env": given})).values():
        for one in containers(pod):
            homes = [each for each in one["env"] if each["name"] == "HOME"]
            assert homes == [{"name": "HOME", "value": "/b"}]


def test_labels_of_one_object_come_before_those_of_all() -> None:
    labels = {"labels": {"team": "watchers"}}
    monitoring = {"serviceMonitor": labels, "prometheusRule": labels, "dashboard": labels}
    rendering = render("monitoring", {"commonLabels": {"team": "qa"}, "monitoring": monitoring})
    found = [rendering.one("ServiceMonitor"), rendering.one("PrometheusRule")]
    found.append(rendering.one("ConfigMap", "bert-qa-dashboard"))
    assert {one["metadata"]["labels"]["team"] for one in found} == {"watchers"}
    assert rendering.one("Service", "bert-qa")["metadata"]["labels"]["team"] == "qa"


@pytest.mark.parametrize("scenario", ["kserve", "pvc"])
@pytest.mark.parametrize("text", ["--a=b\nc", "--a='b' #c", '--a:  "b"', "--a=\\n"])
def test_options_of_ones_own_may_be_any_text(scenario: str, text: str) -> None:
    rendering = render(scenario, {"httpApi": {"extraArgs": [text]}})
    pods = pod_specs(rendering)
    one = pods.get("InferenceService bert-qa transformer", pods.get("Deployment bert-qa-http-api"))
    assert one is not None
    (api,) = one["containers"]
    assert text in (api["args"] if "args" in api else shlex.split(api["command"][2]))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_registry_has_all_images(scenario: str) -> None:
    images = {
        one["image"]
        for pod in pod_specs(
            render(scenario, {"global": {"imageRegistry": "r.example/qa/"}})
        ).values()
        for one in containers(pod)
    }
    assert all(image.startswith("r.example/qa/") for image in images)


DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("openvino/model_server:1", "r.example/openvino/model_server:1"),
        ("ovms", "r.example/ovms"),
        (f"ghcr.io/team/ovms@{DIGEST}", f"r.example/team/ovms@{DIGEST}"),
        ("localhost:5000/ovms:1", "r.example/ovms:1"),
        ("localhost/ovms", "r.example/ovms"),
    ],
)
def test_a_registry_takes_the_place_of_an_images_own(image: str, expected: str) -> None:
    values = {"global": {"imageRegistry": "r.example"}, "server": {"image": image}}
    assert container(server_pod(render(values=values)), "ovms")["image"] == expected
    assert (
        container(server_pod(render(values={"server": {"image": image}})), "ovms")["image"] == image
    )


def test_something_to_do_after_the_start_leaves_the_pause_before_the_end() -> None:
    started = {"exec": {"command": ["true"]}}
    server = container(
        server_pod(render(values={"server": {"lifecycle": {"postStart": started}}})), "ovms"
    )
    before = container(server_pod(render()), "ovms")["lifecycle"]
    assert server["lifecycle"] == {**before, "postStart": started}
