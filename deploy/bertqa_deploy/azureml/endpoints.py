"""Versions behind a managed online endpoint: deployment, copies of requests, and deletion."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from azure.ai.ml import MLClient
from azure.ai.ml.entities import OnlineEndpoint

from bertqa.artifact import format_split
from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.jobs import register_if_missing
from bertqa_deploy.azureml.memory import Written
from bertqa_deploy.azureml.plans import ServingPlan
from bertqa_deploy.azureml.versions import version_of
from bertqa_deploy.azureml.workspace import text_of, translated_errors
from bertqa_deploy.errors import AzureError, AzureNotFoundError, SwitchUnfinishedError
from bertqa_deploy.rollout import OnStep

SUCCEEDED = "Succeeded"
_IN_PROGRESS = ("Creating", "Updating", "Scaling", "Deleting")
_POLL_SECONDS = 15.0
_SETTLED_SECONDS = 600
_LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The state of an endpoint in Azure.

    Attributes:
        name: The endpoint's name, unique in its Azure region.
        scoring_uri: Where clients send their requests.
        traffic: Percent of the traffic by deployment; deployments without traffic are left out.
        mirror: Percent of the requests that a deployment gets a copy of, by deployment.
    """

    name: str
    scoring_uri: str
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return asdict(self)


def deploy(
    client: MLClient,
    plan: ServingPlan,
    *,
    update: bool = False,
    poll_seconds: float = _POLL_SECONDS,
    on_step: OnStep = lambda _: None,
) -> Endpoint:
    """Deploy a version behind the endpoint, without traffic.

    A deployment that is in progress is waited for. One that cannot be created is deleted, so that
    the same command starts it again.

    Args:
        client: The workspace.
        plan: The version, its endpoint and what it needs; what is missing is registered.
        update: Bring a deployment that is there to what the plan says, instead of leaving it.
        poll_seconds: The pause between two looks at a deployment that is in progress.
        on_step: Called with a sentence for each step.

    Returns:
        The endpoint's state.

    Raises:
        AzureFileError: A file of the plan is not valid, or what it uploads is missing.
        AzureError: Azure refuses or fails; `detail` has the end of the server's log.
    """
    name, deployment = plan.endpoint.name, plan.deployment.name
    endpoint, wanted = plan.endpoint.load(), plan.deployment.load()
    present = _find_endpoint(client, name)
    state = None
    if present is not None:
        state = _wait_until_settled(client, name, deployment, poll_seconds, on_step)
        if state == SUCCEEDED and not update:
            on_step(f"{deployment} is there already")
            return _state_of(present)
    _register_model(client, plan, on_step)
    register_if_missing(client.environments, plan.environment, force=update, on_step=on_step)
    if present is None:
        try:
            put_endpoint(client, endpoint, f"create the endpoint {name}")
        except AzureError:
            with contextlib.suppress(AzureError):
                delete_endpoint(client, name)
            raise
        on_step(f"the endpoint {name} is there")
    on_step(f"{deployment} is being created, which takes minutes, more if Azure builds the image")
    try:
        with translated_errors(f"create the deployment {deployment}"):
            client.online_deployments.begin_create_or_update(wanted).result()
    except AzureError as error:
        log = _server_log(client, name, deployment)
        if state != SUCCEEDED:
            with contextlib.suppress(AzureError):
                _delete_deployment(client, name, deployment)
        raise AzureError(str(error), detail=f"{error.detail}\n{log}".strip()) from error
    on_step(f"{deployment} is ready")
    return _state_of(get_endpoint(client, name))


def mirror(
    client: MLClient,
    name: str,
    copies: Mapping[str, int],
    *,
    on_step: OnStep = lambda _: None,
) -> Endpoint:
    """Have a deployment without traffic get a copy of some of the requests; its answers go nowhere.

    Args:
        client: The workspace.
        name: The endpoint.
        copies: Percent of the requests that a deployment gets a copy of; empty to end that.
        on_step: Called with a sentence for each step.

    Returns:
        The endpoint's state.

    Raises:
        InvalidOptionError: The deployment gets traffic: Azure does one or the other.
        AzureError: It is not deployed or not ready, and nothing was changed; or Azure refuses or
            fails.
    """
    endpoint = settled_endpoint(client, name, on_step=on_step)
    traffic = without_zeros(endpoint.traffic)
    if without_zeros(endpoint.mirror_traffic) == copies:
        on_step("the copies are already as requested")
        return _state_of(endpoint)
    require_mirrorable(client, name, copies, traffic)
    endpoint.mirror_traffic = dict(copies)
    put_endpoint(client, endpoint, f"move the copies of {name}")
    return _state_of(get_endpoint(client, name))


def require_mirrorable(
    client: MLClient, name: str, copies: Mapping[str, int], traffic: Mapping[str, int]
) -> None:
    """Check that a deployment can get copies once an endpoint has some traffic; see `mirror`.

    Raises:
        InvalidOptionError: The deployment gets traffic.
        AzureError: It is not deployed or not ready; or Azure refuses or fails.
    """
    both = sorted(traffic.keys() & copies.keys())
    if both:
        raise InvalidOptionError(
            f"{both[0]} gets traffic, and Azure does not copy requests to it as well: nothing was "
            "changed."
        )
    require_ready(client, name, copies)


def delete_deployment(client: MLClient, name: str, deployment: str, *, force: bool = False) -> bool:
    """Delete a version's deployment.

    Args:
        client: The workspace.
        name: The endpoint.
        deployment: The deployment.
        force: Delete it also where it gets all traffic.

    Returns:
        Whether there was one.

    Raises:
        AzureError: It gets traffic, or a rollout under way needs it; or Azure refuses or fails.
    """
    endpoint = settled_endpoint(client, name)
    if deployment not in states(client, name):
        return False
    traffic = without_zeros(endpoint.traffic)
    share = traffic.get(deployment, 0)
    if share and not (force and len(traffic) == 1):
        raise AzureError(
            f"{deployment} gets {share} % of the traffic of {name}: switch to another version "
            "first. (--force deletes the only one.)"
        )
    memory = Written.found_in(endpoint).memory(name)
    if memory.goal is not None and version_of(deployment) in {*memory.good, *memory.goal}:
        raise AzureError(
            f"A rollout of {name} from {format_split(memory.good) or 'no version'} to "
            f"{format_split(memory.goal)} is under way, which needs {deployment}: run the switch "
            "again to finish it, or with --back to undo it."
        )
    if share or (endpoint.mirror_traffic or {}).get(deployment):
        endpoint.traffic, endpoint.mirror_traffic = ({}, {}) if share else (traffic, {})
        put_endpoint(client, endpoint, f"take the traffic away from {deployment}")
    _delete_deployment(client, name, deployment)
    return True


def delete_endpoint(client: MLClient, name: str, *, force: bool = False) -> bool:
    """Delete an endpoint with all its deployments.

    Args:
        client: The workspace.
        name: The endpoint.
        force: Delete it also where it has traffic.

    Returns:
        Whether there was one.

    Raises:
        AzureError: It has traffic; or Azure refuses or fails.
    """
    endpoint = _find_endpoint(client, name)
    if endpoint is None:
        return False
    busy = sorted(without_zeros(endpoint.traffic))
    if busy and not force:
        raise AzureError(
            f"{name} sends traffic to {', '.join(busy)}, and its clients' requests would fail: use "
            "--force to delete it all the same."
        )
    with translated_errors(f"delete the endpoint {name}"):
        client.online_endpoints.begin_delete(name=name).result()
    return True


def get_endpoint(client: MLClient, name: str) -> OnlineEndpoint:
    """Return an endpoint as it is in Azure now.

    Args:
        client: The workspace.
        name: The endpoint.

    Raises:
        AzureNotFoundError: There is none.
        AzureError: Azure refuses or fails.
    """
    with translated_errors(f"read the endpoint {name}"):
        endpoint: OnlineEndpoint = client.online_endpoints.get(name)
    return endpoint


def settled_endpoint(
    client: MLClient,
    name: str,
    *,
    poll_seconds: float = _POLL_SECONDS,
    on_step: OnStep = lambda _: None,
) -> OnlineEndpoint:
    """Return an endpoint once no change of it is in progress: Azure refuses a second one.

    Args:
        client: The workspace.
        name: The endpoint.
        poll_seconds: The pause between two looks.
        on_step: Called with a sentence where it has to be waited for.

    Raises:
        SwitchUnfinishedError: The change takes too long.
        AzureError: There is no such endpoint; or Azure refuses or fails.
    """
    begun = time.monotonic()
    endpoint = get_endpoint(client, name)
    if text_of(endpoint.provisioning_state) in _IN_PROGRESS:
        on_step(f"{name} is being changed already: waiting for it")
    while text_of(endpoint.provisioning_state) in _IN_PROGRESS:
        if time.monotonic() - begun > _SETTLED_SECONDS:
            raise SwitchUnfinishedError(
                f"After {_SETTLED_SECONDS} s an earlier change of {name} is still in progress "
                f"({text_of(endpoint.provisioning_state)}): nothing was changed. Run the same "
                "command again to resume."
            )
        time.sleep(poll_seconds)
        endpoint = get_endpoint(client, name)
    return endpoint


def put_endpoint(client: MLClient, endpoint: OnlineEndpoint, action: str) -> None:
    """Create or change an endpoint, and wait until Azure has done so.

    Args:
        client: The workspace.
        endpoint: The endpoint as it should be.
        action: What that is, as in "Azure cannot <action>".

    Raises:
        AzureError: Azure refuses or fails.
    """
    with translated_errors(action):
        client.online_endpoints.begin_create_or_update(endpoint).result()


def states(client: MLClient, name: str) -> dict[str, str]:
    """Return the state of each deployment of an endpoint, such as `Succeeded`, by its name.

    Args:
        client: The workspace.
        name: The endpoint.

    Raises:
        AzureError: Azure refuses or fails.
    """
    with translated_errors(f"list the deployments of {name}"):
        deployments = list(client.online_deployments.list(endpoint_name=name))
    return {str(each.name): text_of(each.provisioning_state) for each in deployments}


def require_ready(client: MLClient, name: str, deployments: Iterable[str]) -> None:
    """Check that deployments can get requests, before anything is changed.

    Args:
        client: The workspace.
        name: The endpoint.
        deployments: Their names.

    Raises:
        AzureError: One is missing or not ready; or Azure refuses or fails.
    """
    found = states(client, name)
    for deployment in deployments:
        state = found.get(deployment)
        if state is None:
            known = ", ".join(sorted(found)) or "none"
            raise AzureNotFoundError(
                f"{name} has no {deployment} (deployed: {known}): nothing was changed. "
                "`bert-qa azureml deploy` creates it."
            )
        if state != SUCCEEDED:
            raise AzureError(f"{deployment} is {state}, not ready: nothing was changed.")


def without_zeros(traffic: Mapping[str, int] | None) -> dict[str, int]:
    """Return the percents by deployment, without the deployments that get none.

    Args:
        traffic: Percents by deployment, as Azure has them.
    """
    return {name: percent for name, percent in (traffic or {}).items() if percent}


def _register_model(client: MLClient, plan: ServingPlan, on_step: OnStep) -> None:
    model = plan.model.load()
    try:
        with translated_errors(f"read the model {model.name}"):
            client.models.get(model.name, version=model.version)
    except AzureNotFoundError:
        plan.model.check_path()
        with translated_errors(f"register version {model.version} of {model.name}"):
            client.models.create_or_update(model)
        on_step(f"version {model.version} of {model.name} is registered")


def _server_log(client: MLClient, name: str, deployment: str) -> str:
    """Return the end of the server's log, which is deleted with the deployment; empty if none."""
    try:
        with translated_errors(f"read the log of {deployment}"):
            return str(client.online_deployments.get_logs(deployment, name, _LOG_LINES))
    except AzureError:
        return ""


def _wait_until_settled(
    client: MLClient, name: str, deployment: str, poll_seconds: float, on_step: OnStep
) -> str | None:
    """Wait while a deployment is in progress, and return its state; None where there is none."""
    state = states(client, name).get(deployment)
    if state in _IN_PROGRESS:
        on_step(f"{deployment} is being created already: waiting for it")
    while state in _IN_PROGRESS:
        time.sleep(poll_seconds)
        state = states(client, name).get(deployment)
    return state


def _find_endpoint(client: MLClient, name: str) -> OnlineEndpoint | None:
    try:
        return get_endpoint(client, name)
    except AzureNotFoundError:
        return None


def _delete_deployment(client: MLClient, name: str, deployment: str) -> None:
    with translated_errors(f"delete the deployment {deployment}"):
        client.online_deployments.begin_delete(name=deployment, endpoint_name=name).result()


def _state_of(endpoint: OnlineEndpoint) -> Endpoint:
    return Endpoint(
        name=str(endpoint.name),
        scoring_uri=str(endpoint.scoring_uri),
        traffic=without_zeros(endpoint.traffic),
        mirror=without_zeros(endpoint.mirror_traffic),
    )
