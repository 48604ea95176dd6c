"""What a server serves: the state of every version of a model, and what each says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import httpx

from bertqa import _defaults
from bertqa.artifact import MODEL_NAME, ModelInfo
from bertqa.errors import (
    ModelNotFoundError,
    NotAQAModelError,
    ProtocolError,
    ServerUnreachableError,
)
from bertqa.transport._address import Address
from bertqa.transport._security import Security
from bertqa.transport._sync.rest import RestTransport

AVAILABLE = "AVAILABLE"
_NO_ERROR = "OK"


class VersionState(NamedTuple):
    """OVMS's word for a version's state, and its error code where there is one."""

    state: str
    error: str | None


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version as a server has it.

    `state` is OVMS's word (START, LOADING, AVAILABLE, UNLOADING, END), `error` its error code where
    there is one. `is_default` says that it answers where no version is named. What the version
    says of itself is known only while it is available.
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
    timeout: float = _defaults.TIMEOUT_SECONDS,
    security: Security | None = None,
) -> list[ServedVersion]:
    """Ask a server for the versions of a model, in ascending order; `timeout` is in seconds.

    OVMS answers with the highest available version where none is named. Raises
    ServerUnreachableError, ModelNotFoundError and ProtocolError.
    """
    rest = rest_address(url, metadata_url)
    security = security or Security()
    states = version_states(rest, model, timeout, security)
    available = [version for version, (state, _) in states.items() if state == AVAILABLE]
    transport = RestTransport(rest, model, security)
    served = []
    try:
        for version, (state, error) in sorted(states.items()):
            info = None
            if state == AVAILABLE:
                metadata = transport.metadata(version=version, timeout=timeout)
                info = _info(metadata.rt_info)
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
    finally:
        transport.close()
    return served


def rest_request(
    method: str, rest: Address, path: str, timeout: float, security: Security
) -> httpx.Response:
    """Send a request to a server's REST API. Raises httpx.TransportError and InvalidOptionError."""
    return httpx.request(
        method,
        f"{rest}{path}",
        headers=dict(security.headers),
        timeout=timeout,
        verify=security.ssl_context() if rest.is_secure else True,
    )


def rest_address(url: str, metadata_url: str | None = None) -> Address:
    """Return a server's REST address, by convention where its gRPC address is given."""
    address = Address.parse(metadata_url or url)
    return address if address.scheme in ("http", "https") else address.rest


def version_states(
    rest: Address, model: str, timeout: float, security: Security | None = None
) -> dict[int, VersionState]:
    """Return each version's state, from OVMS's own endpoint. Raises as `served_versions` does."""
    try:
        response = rest_request("GET", rest, "/v1/config", timeout, security or Security())
        response.raise_for_status()
        models = response.json()
        if model not in models:
            known = ", ".join(models) or "none"
            raise ModelNotFoundError(
                f"{rest} does not serve the model {model!r} (it has: {known})."
            )
        states = {}
        for entry in models[model]["model_version_status"]:
            code = entry["status"]["error_code"]
            error = None if code == _NO_ERROR else code
            states[int(entry["version"])] = VersionState(entry["state"], error)
        return states
    except httpx.TransportError as error:
        raise ServerUnreachableError(
            f"Cannot connect to {rest}: is the server running, and is this its REST address?",
            detail=str(error),
        ) from error
    except (httpx.HTTPStatusError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ProtocolError(
            f"{rest} does not tell its versions as OpenVINO Model Server does: GET /v1/config may "
            "be closed to you, or another server is there.",
            detail=str(error),
        ) from error


def _info(rt_info: Mapping[str, str]) -> ModelInfo | None:
    try:
        return ModelInfo.from_rt_info(rt_info)
    except NotAQAModelError:
        return None
