"""Versions behind a managed online endpoint: deploying, switching, going back, deleting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from azure.ai.ml import MLClient

from bertqa.errors import InvalidOptionError
from bertqa.split import Split, format_split, parse_split
from bertqa_deploy.azureml.jobs import ensure
from bertqa_deploy.azureml.plans import Serving
from bertqa_deploy.azureml.versions import BEFORE, to_split, to_traffic
from bertqa_deploy.azureml.workspace import explained
from bertqa_deploy.errors import AzureError, AzureNotFoundError, NothingToDoError

SUCCEEDED = "Succeeded"

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as Azure has it: traffic and mirror in percent, by deployment."""

    name: str
    scoring_uri: str
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Give it for JSON."""
        return asdict(self)


def deploy(client: MLClient, plan: Serving, *, on_step: OnStep = lambda _: None) -> Endpoint:
    """Put a version behind the endpoint, without traffic; what is there already is left alone.

    A deployment that cannot be made is taken away again, so that the same command begins it anew.
    Raises AzureError.
    """
    name, deployment = plan.endpoint.name, plan.deployment.name
    endpoint, wanted = plan.endpoint.load(), plan.deployment.load()
    present = _present(client, name)
    if present is not None and _states(client, name).get(deployment) == SUCCEEDED:
        on_step(f"{deployment} is there already")
        return _told(present)
    _register_model(client, plan, on_step)
    ensure(client.environments, plan.environment, anew=False, on_step=on_step)
    if present is None:
        with explained(f"make the endpoint {name}"):
            client.online_endpoints.begin_create_or_update(endpoint).result()
        on_step(f"the endpoint {name} is there")
    on_step(
        f"{deployment} is being made, which takes minutes: the first time Azure builds an image"
    )
    try:
        with explained(f"make the deployment {deployment}"):
            client.online_deployments.begin_create_or_update(wanted).result()
    except AzureError:
        with contextlib.suppress(AzureError):
            _take_away(client, name, deployment)
        raise
    on_step(f"{deployment} is ready, without traffic")
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
    traffic = dict(endpoint.traffic or {}) if split is None else to_traffic(split)
    asked = dict(endpoint.mirror_traffic or {}) if mirror is None else dict(mirror)
    mirrored = {each: percent for each, percent in asked.items() if not traffic.get(each)}
    if mirror and not mirrored:
        (both,) = mirror
        raise InvalidOptionError(
            f"{both} gets traffic, and Azure does not copy requests to it as well: nothing was "
            "changed."
        )
    _require_ready(client, name, [*traffic, *(mirror or {})])
    before = to_split(endpoint.traffic)
    if _without_zeros(endpoint.traffic) == _without_zeros(traffic) and _without_zeros(
        endpoint.mirror_traffic
    ) == _without_zeros(mirrored):
        on_step("the traffic is as it was asked for already")
        return _told(endpoint)
    if split is not None and before and before != to_split(traffic):
        endpoint.tags = {**(endpoint.tags or {}), BEFORE: format_split(before)}
    endpoint.traffic, endpoint.mirror_traffic = traffic, mirrored
    with explained(f"move the traffic of {name}"):
        client.online_endpoints.begin_create_or_update(endpoint).result()
    return _told(_there(client, name))


def split_before(client: MLClient, name: str) -> Split:
    """Give the split before the last switch. Raises NothingToDoError where none was made."""
    text = (_there(client, name).tags or {}).get(BEFORE)
    if not text:
        raise NothingToDoError(
            f"There is nothing to go back to: no switch of {name} was made here yet."
        )
    return parse_split(text)


def delete_deployment(client: MLClient, name: str, deployment: str, *, force: bool = False) -> bool:
    """Delete a version's deployment; tells whether there was one.

    One that gets traffic is refused, unless `force` takes the traffic away first. Raises
    AzureError.
    """
    endpoint = _there(client, name)
    if deployment not in _states(client, name):
        return False
    share = (endpoint.traffic or {}).get(deployment, 0)
    if share and not force:
        raise AzureError(
            f"{deployment} gets {share} % of the traffic of {name}: switch first, or say --force."
        )
    copies = (endpoint.mirror_traffic or {}).get(deployment, 0)
    if share or copies:
        endpoint.traffic = _without(endpoint.traffic, deployment)
        endpoint.mirror_traffic = _without(endpoint.mirror_traffic, deployment)
        with explained(f"take the traffic away from {deployment}"):
            client.online_endpoints.begin_create_or_update(endpoint).result()
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
        with explained(f"register version {model.version} of {model.name}"):
            client.models.create_or_update(model)
        on_step(f"version {model.version} of {model.name} is registered")


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
    return {str(each.name): str(each.provisioning_state) for each in deployments}


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


def _without(traffic: Mapping[str, int] | None, deployment: str) -> dict[str, int]:
    return {name: percent for name, percent in (traffic or {}).items() if name != deployment}


def _without_zeros(traffic: Mapping[str, int] | None) -> dict[str, int]:
    return {name: percent for name, percent in (traffic or {}).items() if percent}


def _told(endpoint: Any) -> Endpoint:
    return Endpoint(
        name=str(endpoint.name),
        scoring_uri=str(endpoint.scoring_uri),
        traffic=_without_zeros(endpoint.traffic),
        mirror=_without_zeros(endpoint.mirror_traffic),
    )
