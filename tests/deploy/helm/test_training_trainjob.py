"""templates/training-trainjob.yaml."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.deploy.cluster.api_server import ApiServer, running
from tests.deploy.helm.schemas import CUSTOM
from tests.support.chart import CHART, NAMESPACE, RELEASE, SCENARIOS, Manifest, container, render
from tests.support.ports import free_port
from tools.programs import helm

POD = ("serviceAccountName", "nodeSelector", "securityContext", "volumes")


def train_job(training: dict[str, Any] | None = None, **values: Any) -> Manifest:
    return render("kubeflow", {"model": {"training": training or {}}, **values}).one("TrainJob")


def pod_patch(found: Manifest) -> Manifest:
    """What is changed in the pods of the runtime's one replicated job."""
    (patch,) = found["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    template: Manifest = node["template"]["spec"]["template"]
    return template


def job(**values: Any) -> Manifest:
    engine = {"model": {"training": {"engine": "job", "nodes": 1}}}
    return render("kubeflow", {**engine, **values}).one("Job")


def test_it_takes_the_place_of_the_job() -> None:
    assert not render("kubeflow").all("Job")
    assert not render("training").all("TrainJob")
    assert not render("pvc").all("TrainJob")


def test_torchrun_starts_in_each_pod_what_a_job_runs() -> None:
    trainer = train_job()["spec"]["trainer"]
    build = container(job()["spec"]["template"]["spec"], "build")
    assert trainer["command"] == ["torchrun", "--no-python"]
    assert trainer["args"] == [*build["command"], *build["args"]]
    assert trainer["image"] == build["image"]
    assert trainer["env"] == build["env"]
    assert trainer["resourcesPerNode"] == build["resources"]


def test_its_command_is_one_that_torchrun_takes(tmp_path: Path) -> None:
    trainer = train_job()["spec"]["trainer"]
    words = [word.replace("/recipe/", f"{tmp_path}/") for word in trainer["args"]]
    programs = Path(sys.executable).parent
    words[0] = str(programs / words[0])
    ended = subprocess.run(
        [str(programs / trainer["command"][0]), *trainer["command"][1:], *words],
        env={"PATH": "/usr/bin:/bin", "PET_NNODES": "1", "PET_NPROC_PER_NODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "recipe.yaml' does not exist" in ended.stderr


def test_how_many_train_together_and_in_which_runtime_are_values() -> None:
    specification = train_job({"nodes": 3, "processesPerNode": 8})["spec"]
    assert specification["trainer"]["numNodes"] == 3
    assert specification["trainer"]["numProcPerNode"] == 8
    assert specification["runtimeRef"] == {
        "apiGroup": "trainer.kubeflow.org",
        "kind": "ClusterTrainingRuntime",
        "name": "torch-distributed",
    }
    own = train_job({"runtime": {"kind": "TrainingRuntime", "name": "mine"}})
    assert own["spec"]["runtimeRef"]["kind"] == "TrainingRuntime"
    assert own["spec"]["runtimeRef"]["name"] == "mine"


def test_its_pods_are_those_of_a_job_in_all_that_a_trainjob_can_say() -> None:
    patched, whole = pod_patch(train_job()), job()["spec"]["template"]
    assert patched["metadata"] == whole["metadata"]
    for key in POD:
        assert patched["spec"][key] == whole["spec"][key], key
    (node,) = patched["spec"]["containers"]
    build = container(whole["spec"], "build")
    assert node == {
        "name": "node",
        "securityContext": build["securityContext"],
        "volumeMounts": build["volumeMounts"],
    }


def test_where_its_pods_go_and_how_they_get_their_image_are_the_releases() -> None:
    values: dict[str, Any] = {
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podLabels": {"team": "qa"},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy"}],
    }
    found = train_job(**values)
    jsonschema.validate(found["spec"], CUSTOM["trainer.kubeflow.org/v1alpha1 TrainJob"])
    patched = pod_patch(found)
    for key in ("imagePullSecrets", "tolerations", "affinity"):
        assert patched["spec"][key] == values[key]
    assert patched["metadata"]["labels"]["team"] == "qa"
    assert values["env"][0] in found["spec"]["trainer"]["env"]


def test_a_field_that_a_trainjob_does_not_have_is_found() -> None:
    """Kubernetes drops what a resource's definition does not have, without a word."""
    found = deepcopy(train_job())
    pod_patch(found)["spec"]["priorityClassName"] = "high"
    with pytest.raises(jsonschema.ValidationError, match="priorityClassName"):
        jsonschema.validate(found["spec"], CUSTOM["trainer.kubeflow.org/v1alpha1 TrainJob"])


@pytest.mark.parametrize(
    "training",
    [
        {"recipe": "name: other\n"},
        {"image": "bert-qa-build:0.3.0"},
        {"nodes": 3},
        {"deadlineSeconds": 3600},
        {"runtime": {"name": "mine"}},
    ],
)
def test_whatever_changes_makes_another_one_since_it_cannot_be_changed(
    training: dict[str, Any],
) -> None:
    assert train_job()["metadata"]["name"] != train_job(training)["metadata"]["name"]


def test_a_change_elsewhere_does_not_train_again() -> None:
    assert train_job() == train_job(server={"streams": 2})


def test_the_names_of_its_pods_are_not_too_long() -> None:
    name = train_job({"nodes": 100}, fullnameOverride="n" * 32)["metadata"]["name"]
    assert len(f"{name}-node-0-99-abcde") <= 63


def test_a_switch_may_see_it() -> None:
    role = render("kubeflow", {"switch": {"enabled": True}}).one("Role")
    rule = {
        "apiGroups": ["trainer.kubeflow.org"],
        "resources": ["trainjobs"],
        "verbs": ["get", "patch"],
    }
    assert rule in role["rules"]
    assert not any("jobs" in each["resources"] for each in role["rules"])


def upgraded(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(str(helm()), "upgrade", RELEASE, str(CHART), "--install", "--namespace", NAMESPACE),
            *("--values", str(SCENARIOS["kubeflow"]), "--set", "model.training.claimName=mine"),
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_servers_wait_for_it_until_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    apis = f"http://127.0.0.1:{port}/apis"
    deadlines = []
    with running(ApiServer({1: 0}), port, tmp_path / "kubeconfig"):
        for status in ("False", "True"):
            assert not upgraded().returncode
            jobs = f"{apis}/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
            (found,) = httpx.get(jobs).raise_for_status().json()["items"]
            found["status"] = {"conditions": [{"type": "Complete", "status": status}]}
            httpx.put(f"{jobs}/{found['metadata']['name']}", json=found).raise_for_status()
            assert not upgraded().returncode
            deployment = f"{apis}/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}-stable"
            specification = httpx.get(deployment).raise_for_status().json()["spec"]
            deadlines.append(specification["progressDeadlineSeconds"])
    assert deadlines == [86400 + 600, 600]


def test_a_claim_that_only_one_node_can_mount_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "mine", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"]},
    }
    claims = f"http://127.0.0.1:{port}/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
    with running(ApiServer({1: 0}), port, tmp_path / "kubeconfig"):
        httpx.post(claims, json=claim).raise_for_status()
        refused = upgraded()
        assert "which is ReadWriteOnce: it has to be ReadWriteMany" in refused.stderr
        assert not upgraded("--set", "model.training.nodes=1").returncode
