"""What is refused at `helm install`, each with one sentence."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.support.chart import refusal, render

KEY = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "two model sources": (
        "pvc",
        {"model": {"storage": {"uri": "s3://models/qa"}}},
        "more than one source (pvc, storage)",
    ),
    "a key to verify what a store has": (
        "s3",
        {"model": {"verify": {"publicKey": KEY}}},
        "does not go with model.storage: OVMS reads the store itself",
    ),
    "a key to verify what KServe fetches": (
        "kserve-standard",
        {"model": {"verify": {"publicKey": KEY}}},
        "does not go with kserve.enabled: KServe fetches the model itself",
    ),
    "a key to verify what a Job trains": (
        "training",
        {"model": {"verify": {"publicKey": KEY}}},
        "does not go with model.training, whose Job has no key to sign with",
    ),
    "a key to verify versions that appear later": (
        "pvc",
        {"model": {"verify": {"publicKey": KEY}}, "tracks": {"stable": {"version": "latest"}}},
        "the track stable cannot follow the latest version of model.pvc",
    ),
    "a key to verify what OVMS has compiled": (
        "pvc",
        {
            "model": {"verify": {"publicKey": KEY}},
            "tracks": {"stable": {"version": 1}},
            "server": {"extraArgs": ["--cache_dir=/tmp/cache"]},
        },
        "does not go with --cache_dir in server.extraArgs",
    ),
    "weights that do not sum to 100": (
        "pvc",
        {"tracks": {"candidate": {"version": 2, "weight": 30}}},
        "sum to 130, not to 100 (candidate=30, stable=100)",
    ),
    "a part of the requests for a track without pods": (
        "tracks",
        {"tracks": {"candidate": {"replicas": 0}}},
        "The track candidate has the weight 10 and no replicas",
    ),
    "a track without a version": (
        "pvc",
        {"tracks": {"stable": {"weight": 90}, "candidate": {"weight": 10}}},
        "The track candidate has no version",
    ),
    "no track at all": (
        "pvc",
        {"tracks": {"stable": None}},
        "There is no track",
    ),
    "a track named as an object of the chart": (
        "pvc",
        {"tracks": {"headless": {"version": 2, "weight": 0}}},
        "A track cannot be called headless",
    ),
    "a CPU limit that is not whole while pinning is requested": (
        "pvc",
        {"resources": {"limits": {"cpu": "2500m"}}},
        "The track stable has a CPU limit of 2500m, which is not whole",
    ),
    "no CPU limit while pinning is requested": (
        "pvc",
        {"resources": {"requests": {"cpu": "4"}}},
        "The track stable has a CPU limit of none",
    ),
    "requests below the limits while pinning is requested": (
        "pvc",
        {"resources": {"limits": {"cpu": "4"}, "requests": {"cpu": "2"}}},
        "The track stable has requests that differ from its limits",
    ),
    "training without a recipe": (
        "training",
        {"model": {"training": {"recipe": ""}}},
        "model.training has no recipe",
    ),
    "several nodes of a Job": (
        "training",
        {"model": {"training": {"nodes": 2}}},
        "model.training.nodes is 2, and a Job trains in one process",
    ),
    "several processes of a Job": (
        "training",
        {"model": {"training": {"processesPerNode": 4}}},
        "model.training.processesPerNode is 4, and a Job trains in one process",
    ),
    "several nodes with a claim for one": (
        "kubeflow",
        {"model": {"training": {"accessMode": "ReadWriteOnce"}}},
        "it has to be ReadWriteMany (model.training.accessMode)",
    ),
    "variables from a ConfigMap for a TrainJob": (
        "kubeflow",
        {"envFrom": [{"configMapRef": {"name": "proxies"}}]},
        "envFrom does not go with model.training.engine=kubeflow",
    ),
    "a priority class for a TrainJob": (
        "kubeflow",
        {"priorityClassName": "high"},
        "priorityClassName does not go with model.training.engine=kubeflow",
    ),
    "a variable that Kubeflow Trainer sets": (
        "kubeflow",
        {"model": {"training": {"env": [{"name": "PET_NNODES", "value": "3"}]}}},
        "env has PET_NNODES, which Kubeflow Trainer sets itself",
    ),
    "a volume that a TrainJob would mount twice": (
        "kubeflow",
        {"model": {"training": {"volumeMounts": [{"name": "models", "mountPath": "/more"}]}}},
        "two volumeMounts of models",
    ),
    "a name that is too long for a TrainJob's pods": (
        "kubeflow",
        {"fullnameOverride": "n" * 33},
        "set fullnameOverride to 32 at most",
    ),
    "training with two recipes": (
        "training",
        {"model": {"training": {"recipeConfigMap": "mine"}}},
        "model.training has two recipes",
    ),
    "a recipe that is not a mapping": (
        "training",
        {"model": {"training": {"recipe": "- a\n- b\n"}}},
        "model.training.recipe is not",
    ),
    "a performance hint beside streams and threads": (
        "pvc",
        {"server": {"pluginConfig": {"PERFORMANCE_HINT": "LATENCY"}}},
        "server.pluginConfig must not hold PERFORMANCE_HINT",
    ),
    "one gRPC thread": (
        "pvc",
        {"server": {"grpcMaxThreads": 1}},
        "server.grpcMaxThreads is 1, with which OVMS refuses every call",
    ),
    "TLS without a certificate": (
        "pvc",
        {"tls": {"enabled": True}},
        "tls.enabled needs a certificate",
    ),
    "an issuer without a name": (
        "pvc",
        {"tls": {"enabled": True, "issuerRef": {"kind": "Issuer"}}},
        "tls.issuerRef has no name",
    ),
    "a route without a Gateway": (
        "tracks",
        {"gateway": {"grpc": {"parentRefs": []}}},
        "gateway.grpc.parentRefs is empty",
    ),
    "REST and gRPC under one host name": (
        "tracks",
        {"gateway": {"grpc": {"hostnames": ["qa.example.com"]}}},
        "both claim the host name qa.example.com",
    ),
    "more tracks than a route has rules": (
        "tracks",
        {"tracks": {f"v{n}": {"version": n, "weight": 0} for n in range(3, 9)}},
        "The HTTPRoute of 8 tracks needs 17 rules",
    ),
    "a Gateway that does not trust the servers": (
        "gateway-tls",
        {"gateway": {"backendCAConfigMap": ""}},
        "needs gateway.backendCAConfigMap",
    ),
    "a Gateway before servers that want a certificate": (
        "gateway-tls",
        {"tls": {"clientCASecretName": "clients"}},
        "does not go with mutual TLS",
    ),
    "fewer pods at most than at least": (
        "autoscaling",
        {"autoscaling": {"minReplicas": 9}},
        "autoscaling.minReplicas (9) is above autoscaling.maxReplicas (8)",
    ),
    "three tracks on KServe": (
        "kserve",
        {"tracks": {"third": {"version": 3, "weight": 0}}},
        "there are 3 tracks",
    ),
    "two tracks on KServe without Knative": (
        "kserve",
        {"kserve": {"mode": "standard"}},
        "kserve.mode=standard goes with one track, and there are 2",
    ),
    "KServe's mode as an annotation": (
        "kserve-standard",
        {"kserve": {"annotations": {"serving.kserve.io/deploymentMode": "Standard"}}},
        "set kserve.mode instead",
    ),
    "KServe with a Gateway": (
        "kserve",
        {"gateway": {"enabled": True, "http": {"parentRefs": [{"name": "a"}]}}},
        "gateway.",
    ),
    "rollouts with KServe": (
        "rollouts",
        {"kserve": {"enabled": True}, "gateway": {"enabled": False}},
        "rollouts.enabled does not go with kserve.enabled",
    ),
    "rollouts with a second track": (
        "rollouts",
        {"tracks": {"next": {"version": 2, "weight": 0}}},
        "rollouts.enabled needs one track, but there are 2",
    ),
    "rollouts of a track that the new version's Service is named after": (
        "rollouts",
        {"tracks": {"stable": None, "canary": {"version": 2, "weight": 100}}},
        "A track cannot be called canary",
    ),
    "rollouts of the latest version": (
        "rollouts",
        {"tracks": {"stable": {"version": "latest"}}},
        "the track stable cannot follow the latest version",
    ),
    "rollouts without a Gateway": (
        "rollouts",
        {"gateway": {"enabled": False}},
        "rollouts.enabled needs gateway.enabled",
    ),
    "rollouts without metrics": (
        "rollouts",
        {"monitoring": {"serviceMonitor": {"enabled": False}}},
        "rollouts.enabled needs monitoring.serviceMonitor.enabled",
    ),
    "steps that do not ascend": (
        "rollouts",
        {"rollouts": {"steps": [5, 50, 50, 100]}},
        "The steps of rollouts.steps (5, 50, 50, 100) do not ascend",
    ),
    "a pause that ends before the first check": (
        "rollouts",
        {"rollouts": {"pauseSeconds": 20}},
        "rollouts.intervalSeconds (30) is above rollouts.pauseSeconds (20)",
    ),
    "a step of which all checks may fail": (
        "rollouts",
        {"rollouts": {"failureLimit": 4}},
        "rollouts.failureLimit (4) is not below the 4 checks of a step",
    ),
    "the HTTP API before servers that want a certificate": (
        "mutual-tls",
        {"httpApi": {"clientSecretName": ""}},
        "name a Secret with its tls.crt and tls.key in httpApi.clientSecretName",
    ),
    "a track named as the HTTP API": (
        "pvc",
        {"tracks": {"http-api": {"version": 2, "weight": 0}}},
        "A track cannot be called http-api",
    ),
    "a volume of the chart's own name": (
        "pvc",
        {"volumes": [{"name": "scratch", "emptyDir": {}}]},
        "two volumes called scratch",
    ),
    "two volumes at one path": (
        "pvc",
        {
            "volumes": [{"name": "data", "emptyDir": {}}],
            "volumeMounts": [{"name": "data", "mountPath": "/tmp"}],
        },
        "at /tmp",
    ),
    "a mount without its volume": (
        "pvc",
        {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        "volumeMounts has the volume data, which a pod does not have",
    ),
    "a container of the chart's own name": (
        "pvc",
        {"server": {"extraContainers": [{"name": "ovms", "image": "busybox"}]}},
        "two containers called ovms",
    ),
    "more asked for than the limit": (
        "pvc",
        {"proxy": {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1500m"}}}},
        "The proxy asks for more cpu (1500m) than its limit (1)",
    ),
    "half a GPU": (
        "pvc",
        {"resources": {"limits": {"nvidia.com/gpu": 0.5}}, "xeon": {"wholeCpus": False}},
        "The track stable has nvidia.com/gpu of 0.5 and a limit of 0.5",
    ),
    "huge pages without a limit": (
        "pvc",
        {"httpApi": {"resources": {"requests": {"hugepages-2Mi": "2Mi"}}}},
        "The HTTP API has hugepages-2Mi of 2Mi and a limit of none",
    ),
    "a part of a huge page": (
        "pvc",
        {"httpApi": {"resources": {"limits": {"hugepages-2Mi": "3Mi"}}}},
        "The HTTP API has hugepages-2Mi of 3Mi, which is not a number of whole pages",
    ),
    "a label that the chart selects by": (
        "pvc",
        {"commonLabels": {"app.kubernetes.io/name": "mine"}},
        "commonLabels must not hold app.kubernetes.io/name",
    ),
    "a label of the chart's own for a ServiceMonitor": (
        "monitoring",
        {"monitoring": {"serviceMonitor": {"labels": {"helm.sh/chart": "mine"}}}},
        "monitoring.serviceMonitor.labels must not hold helm.sh/chart",
    ),
    "a claim of no size": (
        "training",
        {"model": {"training": {"size": "0Gi"}}},
        "model.training.size is 0Gi",
    ),
    "a store at a port that does not exist": (
        "s3",
        {"model": {"storage": {"endpoint": "http://minio:70000"}}},
        "model.storage.endpoint has the port 70000",
    ),
    "fewer pods of KServe at most than at least": (
        "kserve",
        {"kserve": {"minReplicas": 5}},
        "kserve.minReplicas (5) is above kserve.maxReplicas (4)",
    ),
    "one Gateway twice": (
        "tracks",
        {"gateway": {"http": {"parentRefs": [{"name": "a"}, {"name": "a", "port": 80}]}}},
        "gateway.http.parentRefs refers to a 2 times",
    ),
    "a directory outside of the volume": (
        "pvc",
        {"model": {"pvc": {"subPath": "a/../.."}}},
        "model.pvc.subPath is a/../.., and a path may have no part that is empty, `.` or `..`.",
    ),
    "a directory outside of the node's": (
        "single-node",
        {"model": {"hostPath": {"path": "/a/.."}}},
        "model.hostPath.path is /a/.., and",
    ),
    "a directory without a name": (
        "single-node",
        {"model": {"hostPath": {"path": "/a//b"}}},
        "model.hostPath.path is /a//b, and",
    ),
    "an annotation of the chart's own for the Service": (
        "pvc",
        {"service": {"annotations": {"bert-qa/good-split": "2=100"}}},
        "service.annotations must not hold bert-qa/good-split",
    ),
    "an annotation that makes a hook of a pod": (
        "pvc",
        {"podAnnotations": {"helm.sh/hook": "pre-install"}},
        "podAnnotations must not hold helm.sh/hook",
    ),
    "KServe on a host path": (
        "kserve",
        {"model": {"pvc": {"claimName": ""}, "hostPath": {"path": "/srv/models"}}},
        "KServe does not read a model from a host path",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    scenario, values, sentence = REFUSED[case]
    message = refusal(values, scenario)
    assert sentence in message
    assert len([line for line in message.splitlines() if "execution error at" in line]) == 1


def test_refuses_an_image_as_a_volume_before_kubernetes_has_them() -> None:
    values = {"model": {"image": {"mount": "volume"}}}
    render("default", values, kubernetes="1.33.0")
    render("kserve", {**values, "model": {**values["model"], "pvc": None}}, kubernetes="1.32.9")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        render("default", values, kubernetes="1.32.9")
    assert "model.image.mount=volume needs Kubernetes 1.33 at least" in refused.value.stderr


def test_takes_two_listeners_of_one_gateway() -> None:
    references = [{"name": "a", "sectionName": name} for name in ("internal", "public")]
    route = render("tracks", {"gateway": {"http": {"parentRefs": references}}}).one("HTTPRoute")
    assert route["spec"]["parentRefs"] == references


def test_takes_as_many_tracks_as_a_route_has_rules() -> None:
    tracks = {f"v{n}": {"version": n, "weight": 0} for n in range(3, 8)}
    route = render("tracks", {"tracks": tracks}).one("HTTPRoute")
    assert len(route["spec"]["rules"]) == 15
    assert max(len(rule["matches"]) for rule in route["spec"]["rules"]) <= 8


def test_takes_requests_below_limits_once_pinning_is_off() -> None:
    render(values={"xeon": {"wholeCpus": False}, "resources": {"requests": {"cpu": "500m"}}})


def test_takes_weights_of_several_tracks_that_sum_to_100() -> None:
    render(values={"tracks": {"stable": {"weight": 75}, "next": {"version": 7, "weight": 25}}})


@pytest.mark.parametrize(
    "values",
    [
        {"env": [{"name": "WORKERS", "value": 4}]},
        {"model": {"training": {"env": [{"name": "OFFLINE", "value": True}]}}},
    ],
)
def test_a_variable_that_is_not_text_is_refused_before_the_cluster_does(
    values: dict[str, Any],
) -> None:
    assert "/env/0/value': got " in refusal(values)
