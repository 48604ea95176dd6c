"""The workspace: finding it, connecting to it, and saying what Azure says in one sentence."""

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

_PATIENCE = {
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
class Place:
    """Which workspace; what is None is in Azure's variables or in its `config.json`."""

    subscription: str | None = None
    resource_group: str | None = None
    workspace: str | None = None


def connect(place: Place) -> MLClient:
    """Return the SDK's client of a workspace that is known to be there. Raises AzureError.

    Whoever is signed in asks: by `az login`, a managed identity, or Azure's variables.
    """
    given = {
        "subscription_id": place.subscription or os.environ.get(SUBSCRIPTION),
        "resource_group_name": place.resource_group or os.environ.get(RESOURCE_GROUP),
        "workspace_name": place.workspace or os.environ.get(WORKSPACE),
    }
    options_of = dict(
        zip(given, ("--subscription", "--resource-group", "--workspace"), strict=True)
    )
    missing = [options_of[name] for name, value in given.items() if not value]
    options: dict[str, Any] = {"show_progress": False, "enable_telemetry": False, **_PATIENCE}
    credential = DefaultAzureCredential(retry_total=1)
    with explained("reach the workspace"):
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
            "Which workspace? Give --subscription, --resource-group and --workspace, or put the "
            "config.json that Azure ML studio offers for download into this directory."
        ) from error


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the SDK raises into an AzureError; `doing` completes "Azure does not ..."."""
    try:
        with quiet():
            yield
    except ClientAuthenticationError as error:
        raise AzureError(
            "Azure does not know who asks: run `az login`, or set AZURE_CLIENT_ID, "
            "AZURE_TENANT_ID and AZURE_CLIENT_SECRET.",
            detail=_said(error),
        ) from error
    except ResourceNotFoundError as error:
        raise AzureNotFoundError(
            f"Azure cannot {doing}, for it finds no such thing: {_reason(error)}",
            detail=_said(error),
        ) from error
    except HttpResponseError as error:
        raise AzureError(_refusal(doing, error), detail=_said(error)) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise AzureError(
            f"Azure cannot be reached, or does not answer (to {doing}): is there a network? The "
            "same command goes on.",
            detail=_said(error),
        ) from error
    except (AzureCoreError, MlException) as error:
        raise AzureError(f"Azure cannot {doing}: {_reason(error)}", detail=_said(error)) from error


def plain(value: Any) -> str:
    """Return the text of a state, which the SDK has as an enumeration here and as text there."""
    return str(getattr(value, "value", value))


def _refusal(doing: str, error: HttpResponseError) -> str:
    code = f"{getattr(error.error, 'code', '')} {error.message}".lower().replace(" ", "")
    reason = _reason(error)
    if error.status_code == 401:
        return "Azure does not know who asks: the sign-in has expired. Run `az login`."
    if error.status_code == 403:
        return f"You may not {doing}: {reason}"
    if any(word in code for word in _QUOTA_CODES):
        return (
            f"There is no quota to {doing}: {reason} Ask for more in Azure's portal, or write "
            "another instance_type into deployment.yml; run the same command again to resume."
        )
    if error.status_code == 409:
        return f"Azure cannot {doing}, for something of that name is there already: {reason}"
    return f"Azure does not {doing}: {reason}"


def _reason(error: Exception) -> str:
    """Return the first sentence of what Azure, or the SDK, says, ended by a full stop."""
    inner = getattr(error, "error", None)
    text = _plain(getattr(inner, "message", None) or getattr(error, "message", None) or str(error))
    marked = _MARKED.search(text)
    first = marked[1] if marked else text.partition("\n")[0]
    return f"{first.strip().rstrip('.') or type(error).__name__}."


def _said(error: Exception) -> str:
    return _plain(str(error))


def _plain(text: str) -> str:
    return _COLOUR.sub("", text).strip()
