"""Why a pod is not ready, in words."""

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
        What the scheduler says, or what the containers wait for or ended with; empty where there is
        nothing unusual.
    """
    for each in status.conditions or ():
        if each.type == "PodScheduled" and each.status == "False":
            return _cut(each.message or each.reason or "no node is chosen")
    return "; ".join(_of_containers(status))


def _of_containers(status: Any) -> Iterator[str]:
    for each in (*(status.init_container_statuses or ()), *(status.container_statuses or ())):
        state = each.state
        if state is None or each.ready:
            continue
        if state.waiting is not None and state.waiting.reason not in _USUAL:
            said = ": ".join(filter(None, (state.waiting.reason, state.waiting.message)))
            yield f"{each.name} waits: {_cut(said)}"
        elif state.terminated is not None and state.terminated.exit_code:
            yield f"{each.name} ended with status {state.terminated.exit_code}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}..."
