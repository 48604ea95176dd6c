"""`bert-qa azureml`, as far as it asks Azure nothing, and once against one on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Invoke
from tests.support.azure import WORKSPACE_ID, Azure, serving
from tests.support.ports import free_port


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Azure]:
    port = free_port()
    azure = Azure(f"https://127.0.0.1:{port}")
    with serving(azure, port, tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "TestCloud")
        yield azure


def test_a_dry_run_prints_the_objects_and_calls_no_server(invoke: Invoke) -> None:
    result = invoke("azureml", "submit", "--dry-run", "--compute", "cpus", "--after", "2")
    assert (result.status, result.err) == (0, "")
    environment, data, job = yaml.safe_load_all(result.out)
    assert (environment["name"], data["name"]) == ("bert-qa-build", "bert-qa-squad")
    assert (job["compute"], job["inputs"]["after"]) == ("azureml:cpus", 2)
    assert "bert-qa build ${{inputs.recipe}}" in job["command"]

    result = invoke("azureml", "submit", "--dry-run", "--sweep", "--json")
    assert json.loads(result.out)["documents"][2]["objective"]["primary_metric"] == "f1"

    result = invoke("azureml", "deploy", "--version", "3", "--job", "x", "--dry-run", "--json")
    _, model, endpoint, deployment = json.loads(result.out)["documents"]
    assert model["path"] == "azureml://jobs/x/outputs/repository/paths/bert-qa/3"
    assert (model["version"], endpoint["name"]) == ("3", "bert-qa")
    assert (deployment["name"], deployment["model"]) == ("version-3", "azureml:bert-qa:3")

    result = invoke(
        *("azureml", "switch", "--split", "1=90,2=10", "--mirror", "3=5", "--dry-run"),
        *("--endpoint", "ours"),
    )
    endpoint = yaml.safe_load(result.out)
    assert endpoint["name"] == "ours"
    assert endpoint["traffic"] == {"version-1": 90, "version-2": 10}
    assert endpoint["mirror_traffic"] == {"version-3": 5}

    result = invoke("azureml", "delete", "--version", "2", "--dry-run", "--json")
    target = {"endpoint": "bert-qa", "deployment": "version-2"}
    assert json.loads(result.out) == {**target, "deleted": None, "is_dry_run": True}


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["switch"], 2, "exactly one of --to VERSION"),
        (["switch", "--to", "2", "--back"], 2, "exactly one of --to VERSION"),
        (["switch", "--split", "1=90,2=20"], 2, "sums to 110"),
        (["switch", "--split", "1=99.5,2=0.5"], 2, "whole percents"),
        (["switch", "--mirror", "2=60"], 2, "at most 50 percent"),
        (
            ["deploy", "--version", "1", "--job", "x", "--repository", "."],
            2,
            "--repository, not both",
        ),
        (["delete"], 2, "exactly one of --version N and --all"),
        (["delete", "--all", "--version", "1"], 2, "exactly one of --version N and --all"),
        (["submit", "--recipe", "no.yaml"], 2, "'no.yaml' does not exist"),
        (["submit", "--data", "nowhere"], 2, "There is no folder nowhere"),
        (["submit", "--files", "nowhere"], 2, "'nowhere' does not exist"),
    ],
)
def test_what_cannot_be_is_refused_before_azure_is_asked(
    invoke: Invoke, arguments: list[str], status: int, complaint: str
) -> None:
    result = invoke("azureml", *arguments, "--dry-run")
    assert (result.status, result.out) == (status, "")
    assert complaint in result.err
    assert "Traceback" not in result.err


def test_a_version_that_failed_the_gate_is_refused_by_its_card(
    invoke: Invoke, tmp_path: Path
) -> None:
    manifest = {"model": "bert-qa", "version": 2, "precision": "INT8", "format": "openvino"}
    rest = {"source": "", "published": "", "files": {}, "gate": {"passed": False}}
    directory = tmp_path / "bert-qa" / "2"
    directory.mkdir(parents=True)
    (directory / "manifest.json").write_text(json.dumps({**manifest, **rest}), encoding="utf-8")
    result = invoke("azureml", "deploy", "--version", "2", "--repository", str(tmp_path))
    assert result.status == 3
    assert "failed the quality gate" in result.err


def test_from_deploying_to_deleting_nothing_but_the_result_is_printed(
    invoke: Invoke, azure: Azure
) -> None:
    azure.objects["models/bert-qa/versions/1"] = {
        "id": f"{WORKSPACE_ID}/models/bert-qa/versions/1",
        "name": "1",
        "properties": {"flavors": {}, "modelUri": "azureml://x"},
    }
    deployed = invoke("azureml", "deploy", "--version", "1", "--json")
    assert deployed.status == 0, deployed.err
    assert json.loads(deployed.out)["traffic"] == {}
    assert [line[:2] for line in deployed.err.splitlines()] == ["• "] * 4

    switched = invoke("azureml", "switch", "--to", "1")
    assert switched.status == 0, switched.err
    assert "The split of endpoint bert-qa is 1=100" in switched.out

    assert invoke("azureml", "delete", "--all").status == 1
    deleted = invoke("azureml", "delete", "--all", "--force")
    assert (deleted.status, deleted.out) == (0, "bert-qa is deleted\n")


def test_traffic_and_copies_move_together_or_not_at_all(invoke: Invoke, azure: Azure) -> None:
    for number in "12":
        azure.objects[f"models/bert-qa/versions/{number}"] = {
            "id": f"{WORKSPACE_ID}/models/bert-qa/versions/{number}",
            "name": number,
            "properties": {"flavors": {}, "modelUri": "azureml://x"},
        }
        assert invoke("azureml", "deploy", "--version", number).status == 0
    assert invoke("azureml", "switch", "--to", "1").status == 0

    for mirror, status in (("2=10", 2), ("9=10", 1)):
        refused = invoke("azureml", "switch", "--to", "2", "--mirror", mirror, "--json")
        assert (refused.status, json.loads(refused.out)["status"]) == (status, status)
        assert "nothing was changed" in refused.err
        assert azure.properties("onlineEndpoints/bert-qa")["traffic"] == {"version-1": 100}

    both = ["azureml", "switch", "--to", "2", "--mirror", "1=10", "--json"]
    moved = invoke(*both)
    assert json.loads(moved.out)["split"] == {"2": 100}, moved.err
    endpoint = azure.properties("onlineEndpoints/bert-qa")
    assert endpoint["mirrorTraffic"] == {"version-1": 10}

    endpoint["mirrorTraffic"] = {}  # As after a command that was killed in between.
    resumed = invoke(*both)
    document = json.loads(resumed.out)
    assert (resumed.status, document["outcome"]) == (0, "unchanged")
    assert document["mirror"] == {"version-1": 10}

    back = invoke("azureml", "switch", "--back", "--mirror", "2=10", "--json")
    assert json.loads(back.out)["split"] == {"1": 100}, back.err
    endpoint = azure.properties("onlineEndpoints/bert-qa")
    assert endpoint["mirrorTraffic"] == {"version-2": 10}

    endpoint["mirrorTraffic"] = {}
    again = invoke("azureml", "switch", "--back", "--mirror", "2=10", "--json")
    document = json.loads(again.out)
    assert (again.status, document["outcome"]) == (0, "unchanged")
    assert (document["split"], document["mirror"]) == ({"1": 100}, {"version-2": 10})
