from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.ai.ml import MLClient

from bertqa_deploy.azureml.endpoints import deploy
from bertqa_deploy.azureml.files import Files
from bertqa_deploy.azureml.plans import plan_serving
from bertqa_deploy.azureml.workspace import WorkspaceName, connect
from tests.support.azure import Azure, serving
from tests.support.models import write_toy_version
from tests.support.ports import free_port

PROJECT = Path(__file__).parents[3]
AZUREML = PROJECT / "deploy" / "azureml"


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Azure, dict[str, str]]]:
    port = free_port()
    azure = Azure(f"https://127.0.0.1:{port}")
    with serving(azure, port, tmp_path_factory.mktemp("azure")) as environment:
        yield azure, environment


@pytest.fixture
def azure(cloud: tuple[Azure, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Azure:
    """An Azure with an empty workspace, to which this process is signed in."""
    azure, environment = cloud
    azure.clear()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # The SDK sets it itself, and would stay in this cloud where the next test is in another.
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "TestCloud")
    return azure


@pytest.fixture
def client(azure: Azure) -> MLClient:
    return connect(WorkspaceName())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The project's own files in a project of a few, with a repository of versions 1 and 2."""
    project = tmp_path / "project"
    shutil.copytree(AZUREML, project / "deploy" / "azureml")
    shutil.copytree(PROJECT / "deploy" / "docker", project / "deploy" / "docker")
    shutil.copy(PROJECT / ".amlignore", project)
    for name in ("pyproject.toml", "client/bertqa/client.py", "tests/build/test_it.py", ".git/x"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("", encoding="utf-8")
    (project / "data" / "squad").mkdir(parents=True)
    (project / "data" / "squad" / "train.json").write_text("{}", encoding="utf-8")
    for version in (1, 2):
        write_toy_version(project / "model_repository", version)
    return Files(project / "deploy" / "azureml")


@pytest.fixture(scope="session")
def deployed() -> list[Any]:
    """What the workspace has once `both` has deployed for the first time."""
    return []


@pytest.fixture
def both(
    client: MLClient, azure: Azure, deployed: list[Any], request: pytest.FixtureRequest
) -> MLClient:
    """Versions 1 and 2 are deployed, without traffic."""
    if deployed:
        azure.restore(*deployed)
    else:
        files: Files = request.getfixturevalue("files")
        for version in (1, 2):
            deploy(client, plan_serving(files, version))
        deployed.append(azure.saved())
    return client
