"""What a server serves of a model, version by version."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from bertqa import _defaults
from bertqa._checks import model_name
from bertqa.artifact import MODEL_NAME, ModelInfo
from bertqa.errors import (
    ModelNotFoundError,
    ModelNotReadyError,
    NotAQAModelError,
    VersionNotFoundError,
)
from bertqa.transport._admin import AVAILABLE, AdminClient, VersionState, rest_address
from bertqa.transport._patience import ANSWER_SECONDS, patiently
from bertqa.transport._retries import pauses, searches
from bertqa.transport._security import Security


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version as a server has it.

    Attributes:
        version: Its number.
        state: OVMS's word: START, LOADING, AVAILABLE, UNLOADING or END.
        error: OVMS's error code, None if there is none.
        is_default: Whether it answers requests that name no version.
        precision: What its weights are stored in, such as "INT8". This and what follows comes from
            the version itself and is known only while it is available.
        source: The checkpoint that it was made from.
        f1: Its F1 score in percent.
        exact_match: Its exact match score in percent.
    """

    version: int
    state: str
    error: str | None = None
    is_default: bool = False
    precision: str = ""
    source: str = ""
    f1: float | None = None
    exact_match: float | None = None


def served_versions(
    url: str,
    model: str = MODEL_NAME,
    *,
    metadata_url: str | None = None,
    security: Security | None = None,
    timeout: float = _defaults.TIMEOUT_SECONDS,
) -> list[ServedVersion]:
    """Return the versions of a model that a server knows, in ascending order.

    Args:
        url: The server, by its gRPC or its REST address.
        model: The model's name on the server.
        metadata_url: The server's REST address, where it does not follow from `url`.
        security: TLS files, and headers to send with each request.
        timeout: Seconds to wait; a request that is not answered is repeated until then.

    Returns:
        The versions. One that is retired meanwhile is left out or is in the state that it has then,
        and one that another server behind the same address has may be in both lists or in none.

    Raises:
        InvalidOptionError: An address or the model's name is not valid.
        ModelNotFoundError: The server does not serve the model.
        ServerUnreachableError: Cannot connect to the server.
        DeadlineExceededError: The server did not answer in time.
        ProtocolError: The server does not answer as OVMS does.
    """
    model = model_name("model", model)
    deadline = time.monotonic() + timeout
    again = pauses(deadline, patient=False)
    is_known = False
    with AdminClient(
        rest_address(url, metadata_url), security, timeout=min(timeout, ANSWER_SECONDS)
    ) as admin:
        while True:
            left = deadline - time.monotonic()
            try:
                states = patiently(partial(admin.states, model), left, met=is_known)
                is_known = True
                return _described(admin, model, states, deadline)
            except ModelNotFoundError:
                # What is known and then is not: the server restarts.
                pause = next(again, None) if is_known else None
                if pause is None:
                    raise
            time.sleep(pause)


def _described(
    admin: AdminClient, model: str, states: Mapping[int, VersionState], deadline: float
) -> list[ServedVersion]:
    current = dict(states)
    infos = {
        version: _info(admin, model, version, current, deadline)
        for version in states
        if states[version].state == AVAILABLE
    }
    available = [version for version, found in current.items() if found.state == AVAILABLE]
    served = []
    for version, (state, error) in sorted(current.items()):
        info = infos.get(version)
        served.append(
            ServedVersion(
                version=version,
                state=state,
                error=error,
                is_default=version == max(available, default=None),
                precision=info.precision if info else "",
                source=info.source if info else "",
                f1=info.f1 if info else None,
                exact_match=info.exact_match if info else None,
            )
        )
    return served


def _info(
    admin: AdminClient,
    model: str,
    version: int,
    current: dict[int, VersionState],
    deadline: float,
) -> ModelInfo | None:
    """Return what an available version reports; where it is not any more, note its state now."""
    tries = searches((deadline - time.monotonic()) / 2)
    while True:
        left = deadline - time.monotonic()
        try:
            metadata = patiently(partial(admin.metadata, model, version), left)
            return ModelInfo.from_rt_info(metadata.model_info)
        except NotAQAModelError:
            return None
        except (VersionNotFoundError, ModelNotReadyError):
            states = patiently(partial(admin.states, model), deadline - time.monotonic())
            pause = next(tries, None)
            if version not in states:
                # It is gone, or another server behind the address has it.
                if pause is None:
                    del current[version]
                    return None
            elif states[version].state != AVAILABLE or pause is None:
                current[version] = states[version]
                return None
        time.sleep(pause)
