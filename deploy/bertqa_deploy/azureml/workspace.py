"""The workspace: finding it, connecting to it, and translating Azure's errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azure.ai.ml import MLClient
from azure.ai.ml.exceptions import MlException, ValidationException
from azure.core.exceptions import (
    AzureError as AzureCoreError,
)
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.identity import DefaultAzureCredential

from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.quiet import quiet
from bertqa_deploy.errors import AzureError, AzureNotFoundError

SUBSCRIPTION = "AZUREML_ARM_SUBSCRIPTION"
RESOURCE_GROUP = "AZUREML_ARM_RESOURCEGROUP"
WORKSPACE = "AZUREML_ARM_WORKSPACE_NAME"
"""The variables that Azure ML sets on its own machines."""

PATIENCE = {
    "retry_total": 3,
    "retry_backoff_factor": 0.5,
    "retry_backoff_max": 5,
    "connection_timeout": 10,
    "read_timeout": 60,
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MARKED = re.compile(r"^\(x\) (.+)$", re.MULTILINE)  # how the SDK lists what it found wrong
_QUOTA_CODES = ("quota", "outofcapacity", "skunotavailable")


@dataclass(frozen=True, slots=True)
class WorkspaceName:
    """Which workspace; what is None is read from Azure's variables or from its `config.json`."""

    subscription: str | None = None
    resource_group: str | None = None
    workspace: str | None = None


def connect(name: WorkspaceName) -> MLClient:
    """Connect to a workspace, and check that it exists.

    The credentials are those of `az login`, a managed identity, or Azure's variables.

    Args:
        name: Which workspace.

    Returns:
        The SDK's client.

    Raises:
        InvalidOptionError: The workspace is not named, or only in part.
        AzureError: You are not signed in, the workspace does not exist, or Azure cannot be reached.
    """
    given = {
        "subscription_id": name.subscription or os.environ.get(SUBSCRIPTION),
        "resource_group_name": name.resource_group or os.environ.get(RESOURCE_GROUP),
        "workspace_name": name.workspace or os.environ.get(WORKSPACE),
    }
    options_of = dict(
        zip(given, ("--subscription", "--resource-group", "--workspace"), strict=True)
    )
    missing = [options_of[each] for each, value in given.items() if not value]
    options: dict[str, Any] = {"show_progress": False, "enable_telemetry": False, **PATIENCE}
    credential = DefaultAzureCredential(retry_total=1)
    with translated_errors("reach the workspace"):
        if not missing:
            client = MLClient(credential, **given, **options)
        elif len(missing) == len(given):
            client = _from_file(credential, options)
        else:
            raise InvalidOptionError(
                "A workspace needs --subscription, --resource-group and --workspace together: "
                f"missing {' and '.join(missing)}."
            )
        client.workspaces.get(client.workspace_name)
    return client


def _from_file(credential: DefaultAzureCredential, options: dict[str, Any]) -> MLClient:
    try:
        return MLClient.from_config(credential, **options)
    except ValidationException as error:
        raise InvalidOptionError(
            "Which workspace? Set --subscription, --resource-group and --workspace, or put the "
            "config.json that Azure ML studio offers for download into this directory."
        ) from error


@contextmanager
def translated_errors(action: str) -> Iterator[None]:
    """Raise the SDK's errors as ours.

    Args:
        action: What the SDK does in the block, as in "Azure cannot <action>".

    Raises:
        AzureNotFoundError: The workspace has no such object.
        AzureError: Anything else that the SDK raises; `detail` has its text.
    """
    try:
        with quiet():
            yield
    except ClientAuthenticationError as error:
        raise AzureError(
            "You are not signed in to Azure: run `az login`, or set AZURE_CLIENT_ID, "
            "AZURE_TENANT_ID and AZURE_CLIENT_SECRET.",
            detail=_text(error),
        ) from error
    except ResourceNotFoundError as error:
        raise AzureNotFoundError(
            f"Azure cannot {action}, because it was not found: {_reason(error)}",
            detail=_text(error),
        ) from error
    except HttpResponseError as error:
        raise AzureError(_refusal(action, error), detail=_text(error)) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise AzureError(
            f"Cannot connect to Azure, or it does not answer (to {action}): check the network and "
            "run the same command again to resume.",
            detail=_text(error),
        ) from error
    except (AzureCoreError, MlException) as error:
        raise AzureError(f"Azure cannot {action}: {_reason(error)}", detail=_text(error)) from error


def text_of(value: Any) -> str:
    """Return the text of a state, which the SDK has as an enumeration or as text."""
    return str(getattr(value, "value", value))


def _refusal(action: str, error: HttpResponseError) -> str:
    code = f"{getattr(error.error, 'code', '')} {error.message}".lower().replace(" ", "")
    reason = _reason(error)
    if error.status_code == 401:
        return "Your sign-in to Azure has expired: run `az login`."
    if error.status_code == 403:
        return f"You are not allowed to {action}: {reason}"
    if any(word in code for word in _QUOTA_CODES):
        return (
            f"There is no quota to {action}: {reason} Request more in Azure's portal, or write "
            "another instance_type into deployment.yml, and run the same command again to resume."
        )
    if error.status_code == 409 and action.startswith("create "):
        return f"Azure cannot {action}, because that name is taken: {reason}"
    return f"Azure cannot {action}: {reason}"


def _reason(error: Exception) -> str:
    """Return the first sentence of Azure's or the SDK's message, with a full stop at its end."""
    messages = (getattr(each, "message", None) for each in (getattr(error, "error", None), error))
    text = _without_colours(next(filter(None, messages), str(error)))
    marked = _MARKED.search(text)
    first = marked[1] if marked else text.partition("\n")[0]
    return f"{first.strip().rstrip('.') or type(error).__name__}."


def _text(error: Exception) -> str:
    return _without_colours(str(error))


def _without_colours(text: str) -> str:
    return _COLOUR.sub("", text).strip()
