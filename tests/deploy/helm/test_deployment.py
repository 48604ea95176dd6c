"""templates/deployment.yaml: a track's pods."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import (
    Manifest,
    container,
    pod_specs,
    render,
    server_config,
    server_pod,
)


def ovms(scenario: str = "pvc", values: dict[str, Any] | None = None) -> Manifest:
    return container(server_pod(render(scenario, values)), "ovms")


def seconds_before_stop(pod: Manifest) -> int:
    """The longest that its pause may take."""
    command = container(pod, "ovms")["lifecycle"]["preStop"]["exec"]["command"]
    least, most = map(int, command[-4:-2])
    assert 0 < least <= most
    return most


def test_each_track_is_a_deployment_with_its_own_replicas_and_resources() -> None:
    rendering = render("tracks")
    stable = rendering.one("Deployment", "bert-qa-stable")["spec"]
    candidate = rendering.one("Deployment", "bert-qa-candidate")["spec"]
    assert (stable["replicas"], candidate["replicas"]) == (3, 1)
    cpus = [
        container(server_pod(rendering, track), "ovms")["resources"]["limits"]["cpu"]
        for track in ("stable", "candidate")
    ]
    assert cpus == ["1", "8"]


def test_a_track_may_have_no_pods() -> None:
    rendering = render(values={"tracks": {"stable": {"replicas": 0}}})
    assert rendering.one("Deployment")["spec"]["replicas"] == 0


def test_an_autoscaled_track_leaves_its_replicas_to_the_autoscaler() -> None:
    assert "replicas" not in render("autoscaling").one("Deployment")["spec"]


def test_a_track_without_weight_keeps_its_replicas_when_others_are_autoscaled() -> None:
    rendering = render("autoscaling", {"tracks": {"next": {"version": 2, "weight": 0}}})
    assert rendering.one("Deployment", "bert-qa-next")["spec"]["replicas"] == 2


def test_a_rollout_never_takes_a_pod_away_before_its_successor_is_ready() -> None:
    strategy = render().one("Deployment")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_startup_and_readiness_ask_for_the_version_itself() -> None:
    server = ovms("tracks")
    model = "/v2/models/bert-qa/versions/1"
    assert model in server["startupProbe"]["exec"]["command"]
    assert server["readinessProbe"]["httpGet"] == {"path": f"{model}/ready", "port": 8081}


def test_readiness_of_a_track_that_follows_the_latest_version_asks_for_the_model() -> None:
    server = ovms("training")
    assert "/v2/models/bert-qa" in server["startupProbe"]["exec"]["command"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/models/bert-qa/ready"


def test_liveness_asks_for_the_server_and_not_for_the_model() -> None:
    assert ovms()["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


def test_startup_may_take_as_long_as_the_values_allow() -> None:
    probe = ovms(values={"server": {"startupSeconds": 901}})["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 901


def test_a_pod_that_goes_outlasts_its_connections_and_their_longest_request() -> None:
    values = {"server": {"requestTimeoutSeconds": 45}, "proxy": {"maxConnectionSeconds": 30}}
    pod = server_pod(render(values=values))
    assert seconds_before_stop(pod) > 45 + 30
    assert pod["terminationGracePeriodSeconds"] >= seconds_before_stop(pod) + 10


def test_the_proxy_is_a_sidecar_that_starts_before_the_server_and_ends_after_it() -> None:
    proxy = container(server_pod(render()), "proxy")
    assert proxy["restartPolicy"] == "Always"
    assert "startupProbe" in proxy


def test_only_the_proxy_has_ports() -> None:
    pod = server_pod(render())
    assert "ports" not in container(pod, "ovms")
    ports = {port["containerPort"] for port in container(pod, "proxy")["ports"]}
    assert ports == {9000, 8000, 8081}


def test_the_server_listens_on_loopback_alone() -> None:
    arguments = ovms()["args"]
    assert "--grpc_bind_address=127.0.0.1" in arguments
    assert "--rest_bind_address=127.0.0.1" in arguments


def test_one_grpc_connection_may_carry_many_requests_at_once() -> None:
    arguments = ovms(values={"server": {"maxConcurrentStreams": 99}})["args"]
    assert any(
        argument.startswith("--grpc_channel_arguments=grpc.max_concurrent_streams=99,")
        for argument in arguments
    )


def test_a_pinned_track_never_looks_for_changes() -> None:
    assert "--file_system_poll_wait_seconds=0" in ovms()["args"]


def test_a_track_that_follows_the_latest_version_looks_for_it() -> None:
    assert "--file_system_poll_wait_seconds=1" in ovms("training")["args"]


@pytest.mark.parametrize(
    "values",
    [
        {"tracks": {"stable": {"version": 2}}},
        {"server": {"streams": 3}},
        {"server": {"precision": "f32"}},
        {"proxy": {"maxConnectionSeconds": 60}},
        {"resources": {"limits": {"cpu": 8}}},
    ],
)
def test_a_changed_configuration_replaces_the_pods(values: dict[str, Any]) -> None:
    before, after = (
        rendering.one("Deployment")["spec"]["template"]
        for rendering in (render(), render("pvc", values))
    )
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]


def test_a_changed_weight_replaces_no_pod() -> None:
    before, after = (
        render("tracks", {"tracks": {"stable": {"weight": a}, "candidate": {"weight": b}}})
        for a, b in ((100, 0), (50, 50))
    )
    for track in ("stable", "candidate"):
        assert server_pod(before, track) == server_pod(after, track)
        first, second = (
            rendering.one("Deployment", f"bert-qa-{track}")["spec"]["template"]["metadata"]
            for rendering in (before, after)
        )
        assert first == second


def test_the_default_pod_is_guaranteed_with_whole_cpus() -> None:
    pod = server_pod(render())
    for one in [*pod["initContainers"], *pod["containers"]]:
        assert one["resources"]["requests"] == one["resources"]["limits"], one["name"]
    assert container(pod, "ovms")["resources"]["limits"]["cpu"] == "4"


def test_no_container_asks_for_huge_pages() -> None:
    for pod in pod_specs(render()).values():
        for one in [*pod.get("initContainers", []), *pod["containers"]]:
            assert set(one["resources"]["limits"]) == {"cpu", "memory"}


def test_nodes_with_vnni_and_amx_are_preferred_by_default() -> None:
    affinity = server_pod(render())["affinity"]["nodeAffinity"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in affinity
    assert node_features(affinity["preferredDuringSchedulingIgnoredDuringExecution"]) == {
        "AMXINT8",
        "AVX512VNNI",
    }


def test_nodes_with_vnni_and_amx_may_be_required() -> None:
    affinity = server_pod(render("xeon"))["affinity"]["nodeAffinity"]
    assert set(affinity) == {"requiredDuringSchedulingIgnoredDuringExecution"}
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert len(terms) == 1, "terms are alternatives: one must hold both features"
    assert node_features([{"preference": terms[0]}]) == {"AMXINT8", "AVX512VNNI"}


def node_features(preferences: list[Manifest]) -> set[str]:
    return {
        expression["key"].removeprefix("feature.node.kubernetes.io/cpu-cpuid.")
        for preference in preferences
        for expression in preference["preference"]["matchExpressions"]
    }


def test_placement_by_features_can_be_switched_off() -> None:
    pod = server_pod(render("single-node"))
    assert "affinity" not in pod
    assert "topologySpreadConstraints" not in pod


def test_pods_of_a_track_spread_over_nodes_and_zones() -> None:
    constraints = server_pod(render("tracks"))["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in constraints] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert {one["whenUnsatisfiable"] for one in constraints} == {"ScheduleAnyway"}
    for one in constraints:
        assert one["labelSelector"]["matchLabels"]["bert-qa/track"] == "stable"


def test_a_numa_aware_scheduler_may_place_the_pods() -> None:
    pod = server_pod(render("xeon"))
    assert pod["schedulerName"] == "topology-aware-scheduler"
    assert pod["priorityClassName"] == "serving"
    assert pod["tolerations"][0]["key"] == "dedicated"
    assert pod["nodeSelector"] == {
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "xeon",
    }


def test_a_claim_is_mounted_read_only() -> None:
    pod = server_pod(render("tracks"))
    volume = next(one for one in pod["volumes"] if one["name"] == "models")
    assert volume["persistentVolumeClaim"]["claimName"] == "models"
    assert {
        "name": "models",
        "mountPath": "/models",
        "readOnly": True,
        "subPath": "repository",
    } in container(pod, "ovms")["volumeMounts"]


def test_a_model_image_is_a_volume_where_the_cluster_has_image_volumes() -> None:
    pod = server_pod(render("image", kubernetes="1.35.0"))
    volume = next(one for one in pod["volumes"] if one["name"] == "models")
    assert volume["image"]["reference"] == "registry.example/bert-qa-model:2"
    assert [one["name"] for one in pod["initContainers"]] == ["proxy"]


def test_a_model_image_is_copied_where_the_cluster_has_no_image_volumes() -> None:
    pod = server_pod(render("image", kubernetes="1.34.9"))
    volume = next(one for one in pod["volumes"] if one["name"] == "models")
    assert volume["emptyDir"] == {}
    copy = container(pod, "copy-model")
    assert copy["image"] == "registry.example/bert-qa-model:2"
    assert copy["command"] == ["cp", "-R", "/models/.", "/copy/"]


@pytest.mark.parametrize(("mount", "kind"), [("volume", "image"), ("copy", "emptyDir")])
def test_how_a_model_image_gets_in_may_be_chosen(mount: str, kind: str) -> None:
    pod = server_pod(render("image", {"model": {"image": {"mount": mount}}}))
    assert kind in next(one for one in pod["volumes"] if one["name"] == "models")


def test_s3_credentials_come_from_a_secret() -> None:
    server = ovms("s3")
    assert server["envFrom"] == [{"secretRef": {"name": "s3-credentials"}}]
    assert {one["name"]: one["value"] for one in server["env"]} == {
        "AWS_REGION": "eu-north-1",
        "S3_ENDPOINT": "http://minio.storage:9000",
    }


def test_azure_credentials_come_from_a_secret() -> None:
    assert ovms("azure")["envFrom"] == [{"secretRef": {"name": "azure-credentials"}}]


def test_google_credentials_are_a_file_from_a_secret() -> None:
    server = ovms("gs")
    assert "envFrom" not in server
    path = {one["name"]: one["value"] for one in server["env"]}["GOOGLE_APPLICATION_CREDENTIALS"]
    mount = next(one for one in server["volumeMounts"] if one["name"] == "credentials")
    assert path == f"{mount['mountPath']}/key.json"
    volumes = server_pod(render("gs"))["volumes"]
    assert next(one for one in volumes if one["name"] == "credentials")["secret"]["secretName"] == (
        "gs-credentials"
    )


def test_a_public_store_needs_no_credentials() -> None:
    server = ovms("gs", {"model": {"storage": {"secretName": ""}}})
    assert "env" not in server
    assert "envFrom" not in server


def test_a_server_of_a_model_in_training_waits_for_the_first_version() -> None:
    wait = container(server_pod(render("training")), "wait-for-model")
    environment = {one["name"]: one["value"] for one in wait["env"]}
    assert environment == {"MODEL": "bert-qa", "VERSION": "[1-9]*"}


def test_a_pinned_track_of_a_model_in_training_waits_for_its_own_version() -> None:
    wait = container(
        server_pod(render("training", {"tracks": {"stable": {"version": 3}}})), "wait-for-model"
    )
    assert {"name": "VERSION", "value": "3"} in wait["env"]


def test_the_wait_needs_little_and_reads_the_volume_alone() -> None:
    pod = server_pod(render("training"))
    wait = container(pod, "wait-for-model")
    assert wait["image"] == container(pod, "ovms")["image"]
    little = {"cpu": "100m", "memory": "64Mi"}
    assert wait["resources"] == {"limits": little, "requests": little}
    assert wait["volumeMounts"] == [{"name": "models", "mountPath": "/models", "readOnly": True}]


@pytest.mark.parametrize("version", ["latest", 3])
def test_the_wait_ends_when_the_version_is_there(version: int | str, tmp_path: Path) -> None:
    values = {"tracks": {"stable": {"version": version}}}
    wait = container(server_pod(render("training", values)), "wait-for-model")
    script = wait["command"][-1].replace("/models/", f"{tmp_path}/")
    environment = {one["name"]: one["value"] for one in wait["env"]} | {"PATH": os.environ["PATH"]}
    command = ["bash", "-c", script]
    (tmp_path / "bert-qa" / "2").mkdir(parents=True)
    (tmp_path / "bert-qa" / ".work").mkdir()
    waiting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert waiting.stdout is not None
    assert waiting.stdout.readline().startswith("waiting for the training Job to publish version")
    waiting.kill()
    waiting.communicate()
    (tmp_path / "bert-qa" / "3").mkdir()
    (tmp_path / "bert-qa" / "3" / "model.xml").touch()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == ""


def test_certificates_are_mounted_for_the_proxy_alone() -> None:
    pod = server_pod(render("mutual-tls"))
    mounts = {one["name"]: one["mountPath"] for one in container(pod, "proxy")["volumeMounts"]}
    assert mounts["server-certificate"] == "/tls/server"
    assert mounts["client-authority"] == "/tls/clients"
    server = {one["name"] for one in container(pod, "ovms")["volumeMounts"]}
    assert not server & {"server-certificate", "client-authority"}
    for mount in container(pod, "proxy")["volumeMounts"]:
        assert mount["readOnly"] is True
    secrets = {one["name"]: one["secret"] for one in pod["volumes"] if "secret" in one}
    assert secrets == {
        "server-certificate": {"secretName": "server-certificate", "defaultMode": 0o440},
        "client-authority": {
            "secretName": "client-authority",
            "defaultMode": 0o440,
            "items": [{"key": "ca.crt", "path": "ca.crt"}],
        },
    }


def test_every_volume_that_is_mounted_exists_and_the_other_way_round() -> None:
    for scenario in ("pvc", "image", "gs", "training", "mutual-tls", "kserve", "kserve-standard"):
        for name, pod in pod_specs(render(scenario)).items():
            everyone = [*pod.get("initContainers", []), *pod["containers"]]
            mounted = {mount["name"] for one in everyone for mount in one.get("volumeMounts", [])}
            assert mounted == {one["name"] for one in pod["volumes"]}, f"{scenario}: {name}"


def test_the_server_has_the_threads_of_its_cpu_limit() -> None:
    config = server_config(render("tracks"), "candidate")
    plugin = config["model_config_list"][0]["config"]["plugin_config"]
    assert plugin["INFERENCE_NUM_THREADS"] == "8"


def test_there_is_no_deployment_under_kserve() -> None:
    assert not render("kserve").all("Deployment")
