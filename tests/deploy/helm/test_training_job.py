"""templates/training-job.yaml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.cluster.api_server import ApiServer, running
from tests.support.chart import CHART, NAMESPACE, RELEASE, SCENARIOS, Manifest, container, render
from tests.support.ports import free_port
from tools.programs import helm


def job(values: dict[str, Any] | None = None) -> Manifest:
    return render("training", values).one("Job")


def test_it_builds_the_mounted_recipe_into_the_claim_that_the_servers_read() -> None:
    rendering = render("training")
    pod = rendering.one("Job")["spec"]["template"]["spec"]
    build = container(pod, "build")
    assert build["command"] == ["bert-qa", "build", "/recipe/recipe.yaml"]
    assert build["args"] == ["--repository", "/models", "--work-dir", "/models/.work"]
    mounts = {one["name"]: one for one in build["volumeMounts"]}
    assert mounts["models"] == {"name": "models", "mountPath": "/models"}
    assert mounts["recipe"] == {"name": "recipe", "mountPath": "/recipe", "readOnly": True}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["recipe"]["configMap"] == {"name": "bert-qa-recipe"}
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for owner in (rendering.one("Job"), rendering.one("Deployment"))
        for volume in owner["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "models"
    }
    assert claims == {"bert-qa-models"}


def test_data_and_variables_of_ones_own_are_added() -> None:
    build = container(job()["spec"]["template"]["spec"], "build")
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in build["volumeMounts"]
    token = {"valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    assert {"name": "HF_TOKEN", **token} in build["env"]
    claim = {"claimName": "squad", "readOnly": True}
    volumes = job()["spec"]["template"]["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": claim} in volumes


def test_it_writes_to_scratch_space_and_to_a_volume_of_the_servers_group() -> None:
    pod = job()["spec"]["template"]["spec"]
    build = container(pod, "build")
    assert {"name": "HOME", "value": "/tmp"} in build["env"]
    assert {"name": "scratch", "mountPath": "/tmp"} in build["volumeMounts"]
    assert {"name": "scratch", "emptyDir": {}} in pod["volumes"]
    assert pod["securityContext"]["fsGroup"] == 5000
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_its_image_and_resources_are_the_ones_of_the_values() -> None:
    training = {"image": "r.example/build:7", "resources": {"limits": {"cpu": "2"}}}
    changed = {"model": {"training": training}, "imagePullPolicy": "Always"}
    build = container(job(changed)["spec"]["template"]["spec"], "build")
    assert (build["image"], build["imagePullPolicy"]) == ("r.example/build:7", "Always")
    limits = {"cpu": "2", "memory": "16Gi"}
    assert build["resources"] == {"limits": limits, "requests": limits}


@pytest.mark.parametrize(
    "training",
    [{"recipe": "name: other\n"}, {"image": "bert-qa-build:0.3.0"}, {"env": []}],
)
def test_another_job_is_another_object_since_a_job_cannot_be_changed(
    training: dict[str, Any],
) -> None:
    before, after = job(), job({"model": {"training": training}})
    assert before["metadata"]["name"] != after["metadata"]["name"]


def test_the_pod_names_the_recipe_that_it_builds() -> None:
    def recipe(training: dict[str, Any]) -> object:
        template = job({"model": {"training": training}})["spec"]["template"]
        return template["metadata"]["annotations"]["bert-qa/recipe"]

    assert recipe({}) == recipe({"image": "bert-qa-build:0.3.0"})
    assert recipe({}) != recipe({"recipe": "name: other\n"})


def test_a_change_elsewhere_does_not_train_again() -> None:
    assert job() == job({"server": {"streams": 2}})


def test_the_command_is_one_that_bert_qa_takes(tmp_path: Path) -> None:
    build = container(job()["spec"]["template"]["spec"], "build")
    words = [
        word.replace("/recipe/", f"{tmp_path}/") for word in [*build["command"], *build["args"]]
    ]
    program = str(Path(sys.executable).with_name(words[0]))
    ended = subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)
    assert "recipe.yaml' does not exist" in ended.stderr


def test_wrong_usage_or_a_refusal_by_the_gate_is_not_tried_again() -> None:
    specification = job()["spec"]
    (rule,) = specification["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {"containerName": "build", "operator": "In", "values": [2, 3]}
    assert specification["backoffLimit"] == 3
    assert specification["template"]["spec"]["restartPolicy"] == "Never"


def test_it_ends_at_its_deadline_which_makes_no_other_job_of_it() -> None:
    longer = job({"model": {"training": {"deadlineSeconds": 172800}}})
    assert (job()["spec"]["activeDeadlineSeconds"], longer["spec"]["activeDeadlineSeconds"]) == (
        86400,
        172800,
    )
    assert longer["metadata"]["name"] == job()["metadata"]["name"]


@pytest.mark.parametrize("scenario", ["training", "rollouts"])
def test_servers_that_wait_for_it_have_not_failed_before_its_deadline(scenario: str) -> None:
    kind = "Rollout" if scenario == "rollouts" else "Deployment"
    training = {"enabled": True, "recipe": "name: demo\n", "deadlineSeconds": 7200}
    values = {"model": {"pvc": {"claimName": ""}, "training": training}}
    waiting = render(scenario, values).one(kind)["spec"]["progressDeadlineSeconds"]
    trained = render("pvc").one("Deployment")["spec"]["progressDeadlineSeconds"]
    assert trained == 300 + 300
    assert waiting == 7200 + trained


def test_once_it_has_published_servers_may_take_as_long_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    address = f"http://127.0.0.1:{port}/apis"
    files = ["--namespace", NAMESPACE, "--values", str(SCENARIOS["training"])]
    upgrade = [str(helm()), "upgrade", RELEASE, str(CHART), "--install", *files]
    upgrade += ["--set", "model.training.claimName=mine"]
    deadlines = []
    with running(ApiServer({1: 0}), port, tmp_path / "kubeconfig"):
        for succeeded in (0, 1):
            subprocess.run(upgrade, capture_output=True, check=True)
            jobs = f"{address}/batch/v1/namespaces/{NAMESPACE}/jobs"
            (found,) = httpx.get(jobs).raise_for_status().json()["items"]
            found["status"] = {"succeeded": succeeded}
            httpx.put(f"{jobs}/{found['metadata']['name']}", json=found).raise_for_status()
            subprocess.run(upgrade, capture_output=True, check=True)
            deployment = f"{address}/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}-stable"
            specification = httpx.get(deployment).raise_for_status().json()["spec"]
            deadlines.append(specification["progressDeadlineSeconds"])
    assert deadlines == [86400 + 600, 600]


def test_there_is_no_job_for_a_model_that_exists() -> None:
    assert not render().all("Job")
