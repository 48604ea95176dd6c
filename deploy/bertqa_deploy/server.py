"""A running server as its operator sees it: OVMS or the local engine, over REST."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from bertqa import QAClient
from bertqa._progress import OnProgress, ignore
from bertqa.artifact import parse_split, split_model_name
from bertqa.client import split_of
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ModelNotFoundError,
    ServerUnreachableError,
)
from bertqa.transport import (
    AVAILABLE,
    AdminClient,
    RestTransport,
    Security,
    VersionState,
    rest_address,
    warm_up,
)

_LOOK_SECONDS = 0.1
_ANSWER_SECONDS = 10.0


class Server:
    """A server that versions are loaded into and retired from.

    Args:
        url: The server, by its gRPC or its REST address.
        metadata_url: Its REST address, where that does not follow from `url`.
        security: TLS files, and headers to send with each request.
        timeout: Seconds that each request may take.
        patience: Seconds to wait for the server to do what a changed configuration asks for.

    Attributes:
        address: The server's REST address.
        was_away: Whether it could not be reached at some time in `wait_until`.

    Raises:
        InvalidOptionError: A URL or a TLS file cannot be read.
    """

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
        self.timeout = timeout
        self.patience = patience
        self.was_away = False
        self._security = security or Security()

    def states(self, model: str) -> dict[int, VersionState]:
        """Return the state of each version; empty where the server does not know the model.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
            ProtocolError: The server does not report its versions as OVMS does.
        """
        with self._admin(self.timeout) as admin:
            try:
                return admin.states(model)
            except ModelNotFoundError:
                return {}

    def available(self, model: str) -> set[int]:
        """Return the versions that answer requests now. Raises what `states` raises."""
        return {
            version for version, found in self.states(model).items() if found.state == AVAILABLE
        }

    def split(self, model: str) -> dict[int, float] | None:
        """Return the split that clients read from the server now, None where there is none.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
        """
        transport = RestTransport(self.address, split_model_name(model), self._security)
        try:
            return parse_split(split_of(transport.metadata(version=None, timeout=self.timeout)))
        except ServerUnreachableError:
            raise
        except BertQAError:
            return None
        finally:
            transport.close()

    def client(self, model: str) -> QAClient:
        """Return an open client of one of the server's models."""
        security = self._security
        return QAClient(
            str(self.address),
            model=model,
            timeout=self.timeout,
            tls=security.tls,
            headers=security.headers,
        )

    def warm_up(
        self, model: str, versions: Iterable[int], *, on_progress: OnProgress = ignore
    ) -> int:
        """Run versions at every length, so that no user waits for kernels to be compiled.

        Args:
            model: The model's name on the server.
            versions: The numbers of the versions.
            on_progress: Called after each length.

        Returns:
            The number of requests that were answered.

        Raises:
            BertQAError: A version does not answer as it should.
        """
        with self._admin(self.patience) as admin:
            return warm_up(admin, model, versions, on_progress=on_progress)

    def reload(self) -> bool:
        """Have the server read its configuration now, and wait until it has done what that says.

        `states` reports what failed.

        Returns:
            False where the server does not offer this and looks for changes by itself.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
            DeadlineExceededError: The server was not done within `patience`.
        """
        with self._admin(self.patience) as admin:
            return admin.reload()

    def wait_until(self, reached: Callable[[], bool]) -> bool:
        """Reload and look until a condition holds.

        A server that cannot be reached meanwhile may be restarting: it is waited for, and
        `was_away` is set.

        Args:
            reached: The condition, which may ask this server.

        Returns:
            False when `patience` is over before the condition holds.
        """
        give_up = time.monotonic() + self.patience
        while True:
            try:
                self.reload()
                if reached():
                    return True
            except (ServerUnreachableError, DeadlineExceededError):
                self.was_away = True
            if time.monotonic() > give_up:
                return False
            time.sleep(_LOOK_SECONDS)

    def _admin(self, timeout: float) -> AdminClient:
        return AdminClient(self.address, self._security, timeout=timeout)
