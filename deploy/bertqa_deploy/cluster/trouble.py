"""Why a pod is not ready, or is not made, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_CHARACTERS = 200
# A container waits for these to pass by themselves.
_USUAL = ("ContainerCreating", "PodInitializing")


def trouble_of(status: Any) -> str:
    """Return why a pod is not ready.

    Args:
        status: The pod's `status`, as the Kubernetes client has it.

    Returns:
        What the scheduler or the node says, or what the containers wait for or ended with; empty
        where there is nothing unusual.
    """
    if status.phase == "Failed":
        return _said(status) or "the pod has failed"
    for each in status.conditions or ():
        if each.type == "PodScheduled" and each.status == "False":
            return _cut(each.message or each.reason or "no node is chosen")
    return "; ".join(_of_containers(status))


def trouble_of_deployment(status: Any) -> str:
    """Return why a Deployment's pods are not made, such as a quota; empty where they are.

    Args:
        status: The Deployment's `status`, as the Kubernetes client has it.
    """
    for each in status.conditions or ():
        if each.type == "ReplicaFailure" and each.status == "True":
            return _said(each)
    return ""


def _of_containers(status: Any) -> Iterator[str]:
    for each in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        state = each.state
        if state is None or each.ready:
            continue
        if state.waiting is not None and state.waiting.reason not in _USUAL:
            yield f"{each.name} waits: {_said(state.waiting)}"
        elif state.terminated is not None and state.terminated.exit_code:
            yield f"{each.name} ended with status {state.terminated.exit_code}"


def _said(where: Any) -> str:
    """Return the reason and the message of a status."""
    return _cut(": ".join(filter(None, (where.reason, where.message))))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}..."
