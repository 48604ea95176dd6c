from __future__ import annotations

import pytest
from azure.ai.ml import MLClient

from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.endpoints import (
    delete_deployment,
    delete_endpoint,
    deploy,
    mirror,
    settled_endpoint,
)
from bertqa_deploy.azureml.files import Files
from bertqa_deploy.azureml.plans import plan_serving
from bertqa_deploy.azureml.target import EndpointTarget
from bertqa_deploy.errors import AzureError, AzureFileError
from bertqa_deploy.rollout import Rollout
from tests.support.azure import WORKSPACE_ID, Azure

ENDPOINT = "onlineEndpoints/bert-qa"
QUOTA = ("OutOfQuota", "Not enough quota available for Standard_F8s_v2 in westeurope.")


def to_one(client: MLClient) -> None:
    Rollout(EndpointTarget(client, "bert-qa")).move({1: 100.0})


def test_a_version_is_uploaded_registered_and_deployed_without_traffic(
    client: MLClient, azure: Azure, files: Files
) -> None:
    deployed = deploy(client, plan_serving(files, 2))

    assert deployed.scoring_uri == f"{azure.url}/scored/bert-qa/v2/models/bert-qa/infer"
    assert (deployed.traffic, deployed.mirror) == ({}, {})
    deployment = azure.properties(f"{ENDPOINT}/deployments/version-2")
    assert deployment["model"] == f"{WORKSPACE_ID}/models/bert-qa/versions/2"
    assert deployment["environmentId"] == f"{WORKSPACE_ID}/environments/bert-qa-serve/versions/1"
    assert "--model_name=bert-qa" in deployment["environmentVariables"]["OVMS_ARGUMENTS"]
    assert azure.properties("environments/bert-qa-serve/versions/1")["inferenceConfig"] == {
        "livenessRoute": {"path": "/v2/health/live", "port": 8000},
        "readinessRoute": {"path": "/v2/models/bert-qa/ready", "port": 8000},
        "scoringRoute": {"path": "/v2/models/bert-qa/infer", "port": 8000},
    }
    uploaded = [blob for blob in azure.blobs if blob.endswith("model.xml")]
    assert len(uploaded) == 1
    assert uploaded[0].endswith("/2/model.xml"), "OVMS takes the directory for the version"


def test_the_sdk_prints_nothing_meanwhile(
    client: MLClient, files: Files, capfd: pytest.CaptureFixture[str]
) -> None:
    deploy(client, plan_serving(files, 2))

    assert capfd.readouterr().out == ""


def test_what_is_there_is_not_made_again_unless_it_is_to_be_updated(
    both: MLClient, azure: Azure, files: Files
) -> None:
    azure.changes.clear()

    deploy(both, plan_serving(files, 2))
    assert azure.changes == []

    plan = plan_serving(files, 2)
    plan.deployment.content["instance_count"] = 3
    deploy(both, plan, update=True)
    assert azure.changes == [
        ("PUT", "environments/bert-qa-serve/versions/1"),  # unchanged, it stays that version
        ("PUT", f"{ENDPOINT}/deployments/version-2"),
    ]
    assert azure.objects[f"{ENDPOINT}/deployments/version-2"]["sku"]["capacity"] == 3


def test_a_deployment_that_is_being_made_is_waited_for(
    both: MLClient, azure: Azure, files: Files
) -> None:
    steps: list[str] = []

    def note(step: str) -> None:
        steps.append(step)
        azure.properties(f"{ENDPOINT}/deployments/version-2")["provisioningState"] = "Succeeded"

    azure.properties(f"{ENDPOINT}/deployments/version-2")["provisioningState"] = "Creating"
    azure.changes.clear()
    deploy(both, plan_serving(files, 2), poll_seconds=0, on_step=note)

    assert steps == [
        "version-2 is being created already: waiting for it",
        "version-2 is there already",
    ]
    assert azure.changes == []


def test_a_version_that_is_nowhere_is_said_before_anything_is_made(
    client: MLClient, azure: Azure, files: Files
) -> None:
    with pytest.raises(AzureFileError, match=r"There is no .*model_repository/bert-qa/7"):
        deploy(client, plan_serving(files, 7))
    assert azure.changes == []


def test_no_quota_is_one_error_and_leaves_no_deployment(
    client: MLClient, azure: Azure, files: Files
) -> None:
    azure.failures[f"{ENDPOINT}/deployments/version-1"] = QUOTA
    with pytest.raises(AzureError, match="no quota to create the deployment version-1") as raised:
        deploy(client, plan_serving(files, 1))
    assert "the end of the server's log" in str(raised.value.detail)
    assert f"{ENDPOINT}/deployments/version-1" not in azure.objects

    azure.failures.clear()
    azure.changes.clear()
    deploy(client, plan_serving(files, 1))
    assert azure.changes == [("PUT", f"{ENDPOINT}/deployments/version-1")], "it continued"


def test_an_update_that_fails_takes_nothing_away(
    both: MLClient, azure: Azure, files: Files
) -> None:
    azure.failures[f"{ENDPOINT}/deployments/version-1"] = QUOTA
    with pytest.raises(AzureError, match="There is no quota"):
        deploy(both, plan_serving(files, 1), update=True)
    assert f"{ENDPOINT}/deployments/version-1" in azure.objects


def test_an_endpoint_s_name_that_is_taken_is_one_error(
    client: MLClient, azure: Azure, files: Files
) -> None:
    azure.refusals["PUT", ENDPOINT] = (409, "Conflict", "The name bert-qa is used in westeurope.")
    with pytest.raises(AzureError, match=r"because that name is taken: The name bert-qa is"):
        deploy(client, plan_serving(files, 1))
    assert not any(path.startswith(ENDPOINT) for path in azure.objects)

    assert deploy(client, plan_serving(files, 1, endpoint="our-qa")).name == "our-qa"


def test_requests_are_mirrored_to_a_version_without_traffic(both: MLClient, azure: Azure) -> None:
    to_one(both)
    mirrored = mirror(both, "bert-qa", {"version-2": 20})
    assert (mirrored.traffic, mirrored.mirror) == ({"version-1": 100}, {"version-2": 20})

    azure.changes.clear()
    assert mirror(both, "bert-qa", {"version-2": 20}) == mirrored
    with pytest.raises(InvalidOptionError, match="version-1 gets traffic"):
        mirror(both, "bert-qa", {"version-1": 20})
    with pytest.raises(AzureError, match=r"has no version-7 \(deployed: version-1, version-2\)"):
        mirror(both, "bert-qa", {"version-7": 20})
    assert azure.changes == []

    assert mirror(both, "bert-qa", {}).mirror == {}


def test_copies_wait_for_a_change_of_the_endpoint_that_is_in_progress(
    both: MLClient, azure: Azure
) -> None:
    to_one(both)
    steps: list[str] = []

    def note(step: str) -> None:
        steps.append(step)
        azure.properties(ENDPOINT)["provisioningState"] = "Succeeded"

    azure.properties(ENDPOINT)["provisioningState"] = "Updating"
    found = settled_endpoint(both, "bert-qa", poll_seconds=0, on_step=note)
    assert found.traffic == {"version-1": 100, "version-2": 0}
    assert steps == ["bert-qa is being changed already: waiting for it"]


def test_only_what_gets_no_traffic_is_deleted(both: MLClient, azure: Azure) -> None:
    Rollout(EndpointTarget(both, "bert-qa")).move({1: 90.0, 2: 10.0})
    with pytest.raises(AzureError, match="version-2 gets 10 % of the traffic"):
        delete_deployment(both, "bert-qa", "version-2", force=True)
    to_one(both)

    assert delete_deployment(both, "bert-qa", "version-2")
    assert not delete_deployment(both, "bert-qa", "version-2"), "it is gone already"
    with pytest.raises(AzureError, match="version-1 gets 100 % of the traffic"):
        delete_deployment(both, "bert-qa", "version-1")
    assert delete_deployment(both, "bert-qa", "version-1", force=True)
    assert azure.properties(ENDPOINT)["traffic"] == {}


def test_an_endpoint_that_is_asked_is_deleted_by_force_alone(both: MLClient, azure: Azure) -> None:
    to_one(both)
    with pytest.raises(AzureError, match="bert-qa sends traffic to version-1"):
        delete_endpoint(both, "bert-qa")

    assert delete_endpoint(both, "bert-qa", force=True)
    assert not any(path.startswith(ENDPOINT) for path in azure.objects)
    assert not delete_endpoint(both, "bert-qa")
    assert "models/bert-qa/versions/1" in azure.objects, "models stay"
