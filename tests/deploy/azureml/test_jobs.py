from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from azure.ai.ml import MLClient

from bertqa_deploy.azureml.files import Files
from bertqa_deploy.azureml.jobs import highest_version, job_with_versions, submit, wait
from bertqa_deploy.azureml.plans import plan_training
from bertqa_deploy.errors import AzureError, AzureFileError
from tests.support.azure import WORKSPACE_ID, Azure


def test_what_the_workspace_lacks_is_registered_once(
    client: MLClient, azure: Azure, files: Files
) -> None:
    submitted = submit(client, plan_training(files, name="first", after=4))

    assert (submitted.name, submitted.status, submitted.after) == ("first", "Running", 4)
    assert submitted.studio_url == "https://ml.example/first"
    job = azure.properties("jobs/first")
    assert job["environmentId"] == f"{WORKSPACE_ID}/environments/bert-qa-build/versions/1"
    assert job["inputs"]["data"]["uri"] == f"{WORKSPACE_ID}/data/bert-qa-squad/versions/1"
    assert job["inputs"]["after"]["value"] == "4"
    assert job["outputs"]["repository"]["mode"] == "Upload"
    assert "bert-qa build ${{inputs.recipe}}" in job["command"]

    azure.changes.clear()
    submit(client, plan_training(files, name="second", sweep=True))
    assert [path for _, path in azure.changes if not path.startswith("codes/")] == ["jobs/second"]
    assert azure.properties("jobs/second")["objective"] == {
        "goal": "maximize",
        "primaryMetric": "f1",
    }


def test_only_what_the_image_is_built_from_is_uploaded(
    client: MLClient, azure: Azure, files: Files
) -> None:
    submit(client, plan_training(files, name="first"))

    uploaded = {blob.partition("/project/")[2] for blob in azure.blobs if "/project/" in blob}
    assert uploaded == {
        "pyproject.toml",
        "client/bertqa/client.py",
        *(f"deploy/docker/{path.name}" for path in files.folder.parent.glob("docker/*")),
    }


def test_another_folder_of_data_is_the_asset_s_next_version(
    client: MLClient, azure: Azure, files: Files, tmp_path: Path
) -> None:
    submit(client, plan_training(files, name="first"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "train.json").write_text("{}", encoding="utf-8")
    submit(client, plan_training(files, name="second", data=str(tmp_path / "more")))

    uri = azure.properties("jobs/second")["inputs"]["data"]["uri"]
    assert uri == f"{WORKSPACE_ID}/data/bert-qa-squad/versions/2"


def test_data_that_are_not_there_are_said_before_anything_is_registered(
    client: MLClient, azure: Azure, files: Files
) -> None:
    shutil.rmtree(files.folder.parents[1] / "data")
    with pytest.raises(AzureFileError, match=r"There is no .*data/squad, which is to be uploaded"):
        submit(client, plan_training(files, name="first"))
    assert azure.changes == []


def test_a_name_finds_the_job_that_it_was_given_to(
    client: MLClient, azure: Azure, files: Files
) -> None:
    submit(client, plan_training(files, name="first", after=4))
    azure.changes.clear()

    assert submit(client, plan_training(files, name="first")).after == 4
    assert azure.changes == []

    azure.end_job("first", "Failed")
    with pytest.raises(AzureError, match=r"a job first already, .* Failed: choose another --name"):
        submit(client, plan_training(files, name="first"))


def test_a_job_is_followed_to_its_end(client: MLClient, azure: Azure, files: Files) -> None:
    for status in ("Completed", "Failed"):
        submitted = submit(client, plan_training(files, name=f"job-{status}"))

        def end(step: str, name: str = submitted.name, status: str = status) -> None:
            azure.end_job(name, status)

        if status == "Completed":
            assert wait(client, submitted, poll_seconds=0, on_step=end).status == "Completed"
        else:
            with pytest.raises(AzureError, match="ended as Failed: its log is at https://ml"):
                wait(client, submitted, poll_seconds=0, on_step=end)


def test_of_a_sweep_the_best_trial_holds_the_versions(
    client: MLClient, azure: Azure, files: Files
) -> None:
    submit(client, plan_training(files, name="sweep", sweep=True))
    with pytest.raises(AzureError, match="has no best trial yet: it is Running"):
        job_with_versions(client, "sweep")

    azure.end_job("sweep", "Completed", {"best_child_run_id": "sweep_3"})
    assert job_with_versions(client, "sweep") == "sweep_3"


def test_versions_are_numbered_on(client: MLClient, azure: Azure) -> None:
    assert highest_version(client, "bert-qa") == 0
    for version in ("2", "10", "beta"):
        azure.objects[f"models/bert-qa/versions/{version}"] = {
            "id": f"{WORKSPACE_ID}/models/bert-qa/versions/{version}",
            "name": version,
            "properties": {"flavors": {}, "modelUri": "azureml://x"},
        }
    assert highest_version(client, "bert-qa") == 10
