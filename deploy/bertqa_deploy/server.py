"""A running server as the one who operates it sees it: OVMS or the local engine, over REST."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from bertqa import QAClient
from bertqa.artifact import parse_split, split_model_name
from bertqa.client import split_of
from bertqa.errors import BertQAError, ModelNotFoundError, ServerUnreachableError
from bertqa.transport import (
    AVAILABLE,
    RestTransport,
    Security,
    VersionState,
    rest_address,
    rest_request,
    version_states,
)

_LOOK_SECONDS = 0.1
_ANSWER_SECONDS = 10.0


class Server:
    """Where a server is, and how long to wait for an answer and for a step, in seconds."""

    def __init__(
        self,
        url: str,
        metadata_url: str | None = None,
        *,
        security: Security | None = None,
        timeout: float = _ANSWER_SECONDS,
        patience: float = 300,
    ) -> None:
        self.address = rest_address(url, metadata_url)
        self.security = security or Security()
        self.timeout = timeout
        self.patience = patience
        self.was_away = False

    def states(self, model: str) -> dict[int, VersionState]:
        """Return the state of each version; none where the server does not know the model."""
        try:
            return version_states(self.address, model, self.timeout, self.security)
        except ModelNotFoundError:
            return {}

    def available(self, model: str) -> set[int]:
        """Return the versions that answer now."""
        return {
            version for version, found in self.states(model).items() if found.state == AVAILABLE
        }

    def split(self, model: str) -> dict[int, float] | None:
        """Return the split that clients are told now, None where there is none."""
        transport = RestTransport(self.address, split_model_name(model), self.security)
        try:
            return parse_split(split_of(transport.metadata(version=None, timeout=self.timeout)))
        except ServerUnreachableError:
            raise
        except BertQAError:
            return None
        finally:
            transport.close()

    def client(self, model: str) -> QAClient:
        """Open a client of one of its models."""
        return QAClient(
            str(self.address),
            model=model,
            timeout=self.timeout,
            tls=self.security.tls,
            headers=self.security.headers,
        )

    def reload(self) -> bool:
        """Have the configuration read now; gives False where the server leaves that to itself.

        The server answers when all is loaded and retired. What failed is told by `states`. Raises
        ServerUnreachableError.
        """
        path = "/v1/config/reload"
        try:
            response = rest_request("POST", self.address, path, self.patience, self.security)
        except httpx.TransportError as error:
            raise ServerUnreachableError(
                f"Cannot connect to {self.address}: is the server running, and is this its "
                "REST address?",
                detail=str(error),
            ) from error
        return response.status_code not in (401, 403, 404, 405, 406)

    def wait_until(self, reached: Callable[[], bool]) -> bool:
        """Reload and look until a condition holds; gives False when patience has run out.

        A server that is away meanwhile is waited for: it may be restarting. `was_away` tells it.
        """
        give_up = time.monotonic() + self.patience
        while True:
            try:
                self.reload()
                if reached():
                    return True
            except ServerUnreachableError:
                self.was_away = True
            if time.monotonic() > give_up:
                return False
            time.sleep(_LOOK_SECONDS)
