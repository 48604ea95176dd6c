"""templates/inferenceservice.yaml: KServe instead of Deployments."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.chart import Manifest, container, pod_specs, render, server_pod


def predictor(values: dict[str, Any] | None = None) -> Manifest:
    found: Manifest = render("kserve", values).one("InferenceService")["spec"]["predictor"]
    return found


def storage_uri(values: dict[str, Any] | None = None) -> str:
    environment = container(predictor(values), "kserve-container")["env"]
    return str({one["name"]: one["value"] for one in environment}["STORAGE_URI"])


def test_it_takes_the_place_of_everything_else() -> None:
    kinds = {one["kind"] for one in render("kserve").objects}
    monitored = {"PodMonitor", "PrometheusRule"}
    assert kinds - monitored == {"InferenceService", "ConfigMap", "ServiceAccount"}


def test_it_serves_the_newest_version_with_its_share_of_the_traffic() -> None:
    found = predictor()
    assert found["canaryTrafficPercent"] == 10
    assert found["annotations"]["bert-qa/version"] == "2"
    config = next(one for one in found["volumes"] if one["name"] == "server-config")
    assert config["configMap"]["name"] == "bert-qa-candidate"


def test_versions_are_compared_as_numbers() -> None:
    tracks = {"stable": {"version": 9, "weight": 50}, "candidate": {"version": 10, "weight": 50}}
    assert predictor({"tracks": tracks})["annotations"]["bert-qa/version"] == "10"
    tracks = {"stable": {"version": 10, "weight": 50}, "candidate": {"version": 9, "weight": 50}}
    assert predictor({"tracks": tracks})["annotations"]["bert-qa/version"] == "10"


def test_a_single_track_has_all_of_the_traffic() -> None:
    tracks = {"stable": {"version": 2, "weight": 100}, "candidate": None}
    assert "canaryTrafficPercent" not in predictor({"tracks": tracks})


def test_requests_pass_the_proxy() -> None:
    found = predictor()
    assert "ports" not in container(found, "kserve-container")
    (port,) = container(found, "transformer-container")["ports"]
    assert port == {"name": "h2c", "containerPort": 9000, "protocol": "TCP"}


def test_rest_may_be_routed_instead_of_grpc() -> None:
    found = predictor({"kserve": {"protocol": "rest"}})
    (port,) = container(found, "transformer-container")["ports"]
    assert (port["name"], port["containerPort"]) == ("http1", 8000)


def test_it_is_ready_when_the_version_is() -> None:
    probe = container(predictor(), "transformer-container")["readinessProbe"]
    assert probe == {
        "httpGet": {"path": "/v2/models/bert-qa/versions/2/ready", "port": 8081},
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }


def test_images_may_come_from_a_private_registry() -> None:
    assert "imagePullSecrets" not in predictor()
    secrets = [{"name": "registry"}]
    assert predictor({"imagePullSecrets": secrets})["imagePullSecrets"] == secrets


@pytest.mark.parametrize(
    ("model", "uri"),
    [
        ({}, "pvc://models"),
        ({"pvc": {"claimName": "models", "subPath": "qa"}}, "pvc://models/qa"),
        (
            {"pvc": {"claimName": ""}, "image": {"reference": "r.example/m:2"}},
            "oci://r.example/m:2",
        ),
        ({"pvc": {"claimName": ""}, "storage": {"uri": "s3://models/qa"}}, "s3://models/qa"),
    ],
)
def test_kserve_fetches_the_model_from_its_source(model: dict[str, Any], uri: str) -> None:
    assert storage_uri({"model": model}) == uri


def test_scaling_and_annotations_are_kserves_own() -> None:
    annotations = {"serving.kserve.io/autoscalerClass": "hpa"}
    values = {"kserve": {"minReplicas": 0, "maxReplicas": 9, "annotations": annotations}}
    service = render("kserve", values).one("InferenceService")
    assert annotations.items() <= service["metadata"]["annotations"].items()
    assert service["spec"]["predictor"]["minReplicas"] == 0
    assert service["spec"]["predictor"]["maxReplicas"] == 9


def test_the_server_listens_behind_the_proxy_alone_and_names_its_protocol() -> None:
    server = container(predictor(), "kserve-container")
    for flag in ("--grpc_bind_address=127.0.0.1", "--rest_bind_address=127.0.0.1"):
        assert flag in server["args"]
    assert {"--port=9001", "--rest_port=8001"} <= set(server["args"])
    assert "--config_path=/config/config.json" in server["args"]
    assert {"name": "PROTOCOL", "value": "v2"} in server["env"]


def test_the_containers_are_those_of_a_deployment() -> None:
    found, pod = predictor(), server_pod(render(values={"size": "small"}))
    for kserves, ours in (("kserve-container", "ovms"), ("transformer-container", "proxy")):
        one, other = container(found, kserves), container(pod, ours)
        for key in ("image", "imagePullPolicy", "resources", "securityContext"):
            assert one[key] == other[key], (kserves, key)
    for key in ("command", "args"):
        assert container(found, "transformer-container")[key] == container(pod, "proxy")[key]


def test_files_are_mounted_where_the_containers_read_them() -> None:
    found = predictor()
    mounts = {
        name: {one["name"]: one["mountPath"] for one in container(found, name)["volumeMounts"]}
        for name in ("kserve-container", "transformer-container")
    }
    assert mounts == {
        "kserve-container": {"server-config": "/config/config.json", "scratch": "/tmp"},
        "transformer-container": {"proxy-config": "/etc/envoy"},
    }
    volumes = {one["name"]: one for one in found["volumes"]}
    assert volumes["proxy-config"]["configMap"] == {"name": "bert-qa-proxy"}
    assert volumes["scratch"]["emptyDir"] == {"sizeLimit": "8Gi"}


@pytest.mark.parametrize(
    ("scenario", "mode"), [("kserve", "Serverless"), ("kserve-standard", "RawDeployment")]
)
def test_the_mode_does_not_hang_on_the_default_of_the_cluster(scenario: str, mode: str) -> None:
    annotations = render(scenario).one("InferenceService")["metadata"]["annotations"]
    assert annotations == {"serving.kserve.io/deploymentMode": mode}


def standard(values: dict[str, Any] | None = None) -> Manifest:
    service = render("kserve-standard", values).one("InferenceService")
    found: Manifest = service["spec"]["predictor"]
    return found


def test_in_standard_mode_the_server_is_watched_and_ends_as_in_a_deployment() -> None:
    alike = {"tracks": {"stable": {"version": 2}}, "server": {"streams": 1}}
    found, pod = standard({"server": {"streams": 1}}), server_pod(render(values=alike))
    ours = container(pod, "ovms")
    theirs = container(found, "kserve-container")
    for key in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
        assert theirs[key] == ours[key]
    assert found["terminationGracePeriodSeconds"] == pod["terminationGracePeriodSeconds"]
    rolling = render().one("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert found["deploymentStrategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_in_standard_mode_the_proxy_outlives_the_server_and_has_the_port_of_kserve() -> None:
    """KServe takes the first port of the first container, and a sidecar is not one of those."""
    found = standard()
    assert found["initContainers"] == [
        container(server_pod(render(values={"size": "small"})), "proxy")
    ]
    assert found["initContainers"][0]["restartPolicy"] == "Always"
    (server,) = found["containers"]
    assert server["ports"] == [{"name": "http1", "containerPort": 8000, "protocol": "TCP"}]
    (server,) = standard({"kserve": {"protocol": "grpc"}})["containers"]
    assert server["ports"] == [{"name": "h2c", "containerPort": 9000, "protocol": "TCP"}]


def test_in_standard_mode_there_is_no_canary() -> None:
    assert "canaryTrafficPercent" not in standard()


def test_in_knative_mode_there_is_nothing_that_knative_refuses() -> None:
    found = predictor()
    assert not {"deploymentStrategy", "terminationGracePeriodSeconds", "initContainers"} & set(
        found
    )
    assert all("lifecycle" not in one for one in found["containers"])


def test_in_knative_mode_the_http_api_is_watched_once_it_had_time_to_start() -> None:
    transformer = render("kserve").one("InferenceService")["spec"]["transformer"]
    probe = container(transformer, "kserve-container")["livenessProbe"]
    assert probe.pop("initialDelaySeconds") == 120
    (pod,) = [spec for name, spec in pod_specs(render()).items() if name.endswith("-http-api")]
    ours = container(pod, "http-api")
    assert probe == ours["livenessProbe"]
    assert ours["startupProbe"]["periodSeconds"] * ours["startupProbe"]["failureThreshold"] <= 120


def test_in_knative_mode_a_revision_may_take_as_long_as_a_deployment() -> None:
    key = "serving.knative.dev/progress-deadline"
    specification = render("kserve", {"server": {"startupSeconds": 900}}).one("InferenceService")[
        "spec"
    ]
    for part in ("predictor", "transformer"):
        assert specification[part]["annotations"][key] == "1200s"
    assert key not in standard()["annotations"]


def test_a_changed_configuration_makes_a_new_revision() -> None:
    before, after = predictor(), predictor({"server": {"streams": 3}})
    assert before["annotations"] != after["annotations"]
    after = predictor({"proxy": {"maxConnectionSeconds": 60}})
    assert before["annotations"] != after["annotations"]


def test_a_request_may_take_as_long_as_the_values_allow() -> None:
    assert predictor({"server": {"requestTimeoutSeconds": 11}})["timeout"] == 11


def test_it_names_its_track_and_its_account() -> None:
    found = predictor()
    assert found["labels"]["bert-qa/track"] == "candidate"
    assert (found["minReplicas"], found["maxReplicas"]) == (1, 4)
    assert found["serviceAccountName"] == "bert-qa"
    assert found["automountServiceAccountToken"] is False
