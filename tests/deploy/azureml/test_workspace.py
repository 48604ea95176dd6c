from __future__ import annotations

import time
from pathlib import Path

import pytest

from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.workspace import WorkspaceName, connect
from bertqa_deploy.errors import AzureError, AzureNotFoundError
from tests.support.azure import GROUP, SUBSCRIPTION, WORKSPACE, Azure
from tests.support.ports import free_port

VARIABLES = (
    "AZUREML_ARM_SUBSCRIPTION",
    "AZUREML_ARM_RESOURCEGROUP",
    "AZUREML_ARM_WORKSPACE_NAME",
)


@pytest.fixture
def nowhere(azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory without config.json, and no variables that name a workspace."""
    for name in VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_workspace_is_said_by_options_variables_or_azure_s_own_file(
    azure: Azure, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connect(WorkspaceName(SUBSCRIPTION, GROUP, WORKSPACE)).workspace_name == WORKSPACE

    (nowhere / "config.json").write_text(
        f'{{"subscription_id": "{SUBSCRIPTION}", "resource_group": "{GROUP}", '
        f'"workspace_name": "{WORKSPACE}"}}',
        encoding="utf-8",
    )
    assert connect(WorkspaceName()).workspace_name == WORKSPACE

    for name, value in zip(VARIABLES, (SUBSCRIPTION, GROUP, "another"), strict=True):
        monkeypatch.setenv(name, value)
    assert connect(WorkspaceName(workspace=WORKSPACE)).workspace_name == WORKSPACE


def test_a_workspace_that_is_not_or_half_said_is_wrong_usage(nowhere: Path) -> None:
    with pytest.raises(InvalidOptionError, match=r"Which workspace\? Set --subscription"):
        connect(WorkspaceName())
    with pytest.raises(InvalidOptionError, match="missing --resource-group and --workspace"):
        connect(WorkspaceName(subscription=SUBSCRIPTION))


def test_a_wrong_subscription_or_workspace_is_named(azure: Azure) -> None:
    for place in (WorkspaceName(subscription="0" * 8), WorkspaceName(workspace="of-another")):
        with pytest.raises(
            AzureNotFoundError, match="reach the workspace, because it was not found"
        ):
            connect(place)


def test_without_a_sign_in_the_error_names_how_to_sign_in(azure: Azure) -> None:
    azure.signed_in = False
    with pytest.raises(AzureError, match="You are not signed in to Azure: run `az login`"):
        connect(WorkspaceName())


def test_a_missing_right_is_named(azure: Azure) -> None:
    message = "The client does not have authorization to perform action 'read'."
    azure.refusals["GET", ""] = (403, "AuthorizationFailed", message)
    with pytest.raises(AzureError, match="not allowed to reach the workspace: The client does not"):
        connect(WorkspaceName())


def test_a_cloud_that_cannot_be_reached_is_said_within_a_minute(
    azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureCloud")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    begun = time.monotonic()
    with pytest.raises(AzureError, match="Cannot connect to Azure, or it does not answer"):
        connect(WorkspaceName())
    assert time.monotonic() - begun < 60
