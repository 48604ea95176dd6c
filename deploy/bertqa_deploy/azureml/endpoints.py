"""Versions behind a managed online endpoint: deploying, switching, going back, deleting."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from azure.ai.ml import MLClient

from bertqa.artifact import WHOLE, Split, format_split, parse_split
from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.jobs import OnStep, ensure
from bertqa_deploy.azureml.plans import Serving
from bertqa_deploy.azureml.versions import BEFORE, to_split, to_traffic
from bertqa_deploy.azureml.workspace import explained, plain
from bertqa_deploy.errors import AzureError, AzureNotFoundError, NothingToDoError

SUCCEEDED = "Succeeded"
_UNDER_WAY = ("Creating", "Updating", "Scaling", "Deleting")
_LOOK_SECONDS = 15.0
_LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as Azure has it: traffic and mirror in percent, by deployment."""

    name: str
    scoring_uri: str
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def deploy(
    client: MLClient,
    plan: Serving,
    *,
    update: bool = False,
    look_seconds: float = _LOOK_SECONDS,
    on_step: OnStep = lambda _: None,
) -> Endpoint:
    """Put a version behind the endpoint, without traffic.

    One that is there already is left alone, unless `update` brings it to what the plan says now;
    one that is being made is waited for. What cannot be made is taken away again, so that the same
    command begins it anew. Raises AzureError.
    """
    name, deployment = plan.endpoint.name, plan.deployment.name
    endpoint, wanted = plan.endpoint.load(), plan.deployment.load()
    present = _present(client, name)
    state = None if present is None else _settled(client, name, deployment, look_seconds, on_step)
    if state == SUCCEEDED and not update:
        on_step(f"{deployment} is there already")
        return _told(present)
    _register_model(client, plan, on_step)
    ensure(client.environments, plan.environment, anew=update, on_step=on_step)
    if present is None:
        try:
            _put(client.online_endpoints, endpoint, f"make the endpoint {name}")
        except AzureError:
            with contextlib.suppress(AzureError):
                delete_endpoint(client, name)
            raise
        on_step(f"the endpoint {name} is there")
    on_step(f"{deployment} is being made, which takes minutes, more where Azure builds the image")
    try:
        _put(client.online_deployments, wanted, f"make the deployment {deployment}")
    except AzureError as error:
        log = _log(client, name, deployment)
        if state != SUCCEEDED:
            with contextlib.suppress(AzureError):
                _take_away(client, name, deployment)
        raise AzureError(str(error), detail=f"{error.detail}\n{log}".strip()) from error
    on_step(f"{deployment} is ready")
    return _told(_there(client, name))


def switch(
    client: MLClient,
    name: str,
    split: Split | None,
    mirror: Mapping[str, int] | None = None,
    *,
    on_step: OnStep = lambda _: None,
) -> Endpoint:
    """Move the endpoint's traffic to `split`, and what is mirrored to `mirror`; None leaves it.

    A version that gets traffic is not mirrored any more: Azure does one or the other. Raises
    AzureError where a version is not deployed or not ready: nothing was changed then.
    """
    endpoint = _there(client, name)
    now, copied = _without_zeros(endpoint.traffic), _without_zeros(endpoint.mirror_traffic)
    traffic = now if split is None else to_traffic(split)
    asked = copied if mirror is None else mirror
    mirrored = {each: percent for each, percent in asked.items() if each not in traffic}
    if mirror and not mirrored:
        (both,) = mirror
        raise InvalidOptionError(
            f"{both} gets traffic, and Azure does not copy requests to it as well: nothing was "
            "changed."
        )
    if (traffic, mirrored) == (now, copied):
        on_step("the traffic is as it was asked for already")
        return _told(endpoint)
    _require_ready(client, name, [*(() if split is None else traffic), *(mirror or {})])
    before = to_split(now)
    if traffic != now and sum(before.values()) == WHOLE:
        endpoint.tags = {**(endpoint.tags or {}), BEFORE: format_split(before)}
    endpoint.traffic, endpoint.mirror_traffic = traffic, mirrored
    _put(client.online_endpoints, endpoint, f"move the traffic of {name}")
    return _told(_there(client, name))


def split_before(client: MLClient, name: str) -> Split:
    """Return the split before the last switch. Raises NothingToDoError where none was made."""
    text = (_there(client, name).tags or {}).get(BEFORE)
    if not text:
        raise NothingToDoError(
            f"There is nothing to go back to: no switch of {name} was made here yet."
        )
    return parse_split(text)


def delete_deployment(client: MLClient, name: str, deployment: str, *, force: bool = False) -> bool:
    """Delete a version's deployment; tells whether there was one.

    One that gets traffic is refused; with `force`, one that gets it all is not. Raises AzureError.
    """
    endpoint = _there(client, name)
    if deployment not in _states(client, name):
        return False
    traffic = _without_zeros(endpoint.traffic)
    share = traffic.get(deployment, 0)
    if share and not (force and len(traffic) == 1):
        raise AzureError(
            f"{deployment} gets {share} % of the traffic of {name}: switch to another version "
            "first. (--force takes the only one away.)"
        )
    if share or (endpoint.mirror_traffic or {}).get(deployment):
        endpoint.traffic, endpoint.mirror_traffic = ({}, {}) if share else (traffic, {})
        _put(client.online_endpoints, endpoint, f"take the traffic away from {deployment}")
    _take_away(client, name, deployment)
    return True


def delete_endpoint(client: MLClient, name: str, *, force: bool = False) -> bool:
    """Delete an endpoint with all its deployments; tells whether there was one.

    One that has traffic is refused, unless `force`. Raises AzureError.
    """
    endpoint = _present(client, name)
    if endpoint is None:
        return False
    busy = sorted(_without_zeros(endpoint.traffic))
    if busy and not force:
        raise AzureError(
            f"{name} sends traffic to {', '.join(busy)}: whoever asks it would fail. --force "
            "deletes it even so."
        )
    with explained(f"delete the endpoint {name}"):
        client.online_endpoints.begin_delete(name=name).result()
    return True


def _register_model(client: MLClient, plan: Serving, on_step: OnStep) -> None:
    model = plan.model.load()
    try:
        with explained(f"read the model {model.name}"):
            client.models.get(model.name, version=model.version)
    except AzureNotFoundError:
        plan.model.check_path()
        with explained(f"register version {model.version} of {model.name}"):
            client.models.create_or_update(model)
        on_step(f"version {model.version} of {model.name} is registered")


def _put(operations: Any, entity: Any, doing: str) -> None:
    with explained(doing):
        operations.begin_create_or_update(entity).result()


def _log(client: MLClient, name: str, deployment: str) -> str:
    """Return the end of the server's log, which is gone with the deployment; empty without one."""
    try:
        with explained(f"read the log of {deployment}"):
            return str(client.online_deployments.get_logs(deployment, name, _LOG_LINES))
    except AzureError:
        return ""


def _settled(
    client: MLClient, name: str, deployment: str, look_seconds: float, on_step: OnStep
) -> str | None:
    """Wait until nobody is at work on a deployment, and give its state, if there is one."""
    state = _states(client, name).get(deployment)
    if state in _UNDER_WAY:
        on_step(f"{deployment} is being made already: waiting for it")
    while state in _UNDER_WAY:
        time.sleep(look_seconds)
        state = _states(client, name).get(deployment)
    return state


def _present(client: MLClient, name: str) -> Any | None:
    try:
        return _there(client, name)
    except AzureNotFoundError:
        return None


def _there(client: MLClient, name: str) -> Any:
    with explained(f"read the endpoint {name}"):
        return client.online_endpoints.get(name)


def _states(client: MLClient, name: str) -> dict[str, str]:
    with explained(f"list the deployments of {name}"):
        deployments = list(client.online_deployments.list(endpoint_name=name))
    return {str(each.name): plain(each.provisioning_state) for each in deployments}


def _require_ready(client: MLClient, name: str, deployments: list[str]) -> None:
    states = _states(client, name)
    for deployment in deployments:
        state = states.get(deployment)
        if state is None:
            known = ", ".join(sorted(states)) or "none"
            raise AzureNotFoundError(
                f"{name} has no {deployment} (deployed: {known}): nothing was changed. "
                "`bert-qa azureml deploy` makes it."
            )
        if state != SUCCEEDED:
            raise AzureError(f"{deployment} is {state}, not ready: nothing was changed.")


def _take_away(client: MLClient, name: str, deployment: str) -> None:
    with explained(f"delete the deployment {deployment}"):
        client.online_deployments.begin_delete(name=deployment, endpoint_name=name).result()


def _without_zeros(traffic: Mapping[str, int] | None) -> dict[str, int]:
    return {name: percent for name, percent in (traffic or {}).items() if percent}


def _told(endpoint: Any) -> Endpoint:
    return Endpoint(
        name=str(endpoint.name),
        scoring_uri=str(endpoint.scoring_uri),
        traffic=_without_zeros(endpoint.traffic),
        mirror=_without_zeros(endpoint.mirror_traffic),
    )
