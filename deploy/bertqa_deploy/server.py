"""A running server as its operator sees it: OVMS or the local engine, over REST."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bertqa import QAClient
from bertqa._progress import OnProgress, ignore
from bertqa.artifact import parse_split, split_model_name
from bertqa.client import split_of
from bertqa.errors import (
    BertQAError,
    CertificateError,
    ModelNotFoundError,
    ServerUnreachableError,
)
from bertqa.transport import (
    ANSWER_SECONDS,
    NO_ANSWER,
    AdminClient,
    RestTransport,
    Security,
    VersionState,
    patiently,
    rest_address,
    warm_up,
)
from bertqa_deploy.errors import DeployError, SwitchUnfinishedError
from bertqa_deploy.waiting import OnWait, States, Wait, available, difference, last_requests

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

# A server that has not begun by then with what its configuration says does not look at it: OVMS
# looks every second, and with `--file_system_poll_wait_seconds 0` never.
_UNNOTICED_SECONDS = 5.0
_LOOK_SECONDS = 0.2

Look = Callable[[States], str | None]
T = TypeVar("T")


class Server:
    """A server that versions are loaded into and retired from.

    Args:
        url: The server, by its gRPC or its REST address.
        metadata_url: Its REST address, where that does not follow from `url`.
        security: TLS files, and headers to send with each request.
        timeout: Seconds that a question to a model may take.
        patience: Seconds to wait for the server to do what a changed configuration asks for, and
            for it to answer: one that is slow or restarts is asked again until then.

    Attributes:
        address: The server's REST address.
        was_away: Whether it did not answer in time at some moment of a wait.

    Raises:
        InvalidOptionError: A URL or a TLS file cannot be read.
    """

    def __init__(
        self,
        url: str,
        metadata_url: str | None = None,
        *,
        security: Security | None = None,
        timeout: float = ANSWER_SECONDS,
        patience: float = 300,
    ) -> None:
        self.address = rest_address(url, metadata_url)
        self.timeout = timeout
        self.patience = patience
        self.was_away = False
        self._met = False
        self._looks_by_itself = True
        self._security = security or Security()

    def states(self, model: str) -> dict[int, VersionState]:
        """Return the state of each version; empty where the server does not know the model.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
            DeadlineExceededError: The server did not answer within `patience`.
            ProtocolError: The server does not report its versions as OVMS does.
        """
        with self._admin(ANSWER_SECONDS) as admin:
            try:
                return self._asked(partial(admin.states, model), self.patience)
            except ModelNotFoundError:
                return {}

    def available(self, model: str) -> set[int]:
        """Return the versions that answer requests now. Raises what `states` raises."""
        return available({model: self.states(model)}, model)

    def metrics(self) -> list[Sample]:
        """Return all samples of the server's metrics; empty where it shows none.

        Raises:
            BertQAError: What `states` raises.
        """
        with self._admin(ANSWER_SECONDS) as admin:
            return self._asked(admin.metrics, self.patience)

    def split(self, model: str) -> dict[int, float] | None:
        """Return the split that clients read from the server now, None where there is none.

        It is asked once.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
            DeadlineExceededError: The server did not answer in time.
            ServerOverloadedError: The server has no room for the request.
        """
        transport = RestTransport(self.address, split_model_name(model), self._security)
        try:
            return parse_split(split_of(transport.metadata(version=None, timeout=ANSWER_SECONDS)))
        except NO_ANSWER:
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
            token=security.token,
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

    def wait_for(
        self,
        look: Look,
        on_wait: OnWait,
        *,
        seconds: float | None = None,
        insist: bool = True,
    ) -> str | None:
        """Look at the server until it is as it should be.

        OVMS looks at its configuration by itself. A server that does not, because nothing moves
        for some seconds, is asked once to reload: that holds one of its REST workers until it is
        done. A server that answers late, or not at all, may be busy or restarting: it is asked
        again, and `was_away` is set.

        Args:
            look: Is given the states of all versions and returns what is missing, as in "version 2
                to load", or None. It may ask this server, too.
            on_wait: Is called with a sentence about what is waited for, at growing intervals.
            seconds: How long to wait, `patience` if left out.
            insist: Whether to wait on where the server was asked to reload and has nothing to do.

        Returns:
            What is missing when the time is over, None otherwise.

        Raises:
            ServerUnreachableError: Cannot connect to the server, which never answered before.
            BertQAError: What `look` raises.
        """
        seconds = self.patience if seconds is None else seconds
        wait = Wait(str(self.address), seconds, on_wait)
        with self._admin(min(seconds, ANSWER_SECONDS)) as admin:
            while True:
                try:
                    states = self._asked(
                        admin.models, 0 if self._met else min(seconds, ANSWER_SECONDS)
                    )
                    wait.saw(states)
                    missing = look(states)
                    if missing is None:
                        self._looks_by_itself &= not wait.has_asked
                        return None
                    if wait.is_still(_UNNOTICED_SECONDS if self._looks_by_itself else 0):
                        if wait.has_asked and not insist:
                            return None
                        wait.ask_to_reload(admin)
                    missing = last_requests(states) or missing
                except CertificateError:
                    raise
                except NO_ANSWER as error:
                    if not self._met and isinstance(error, ServerUnreachableError):
                        raise
                    self.was_away = True
                    missing = wait.no_answer()
                if wait.is_over(missing):
                    return missing + wait.remark
                time.sleep(_LOOK_SECONDS)

    def settled(self, model: str, configured: set[int], on_wait: OnWait) -> set[int]:
        """Return the versions that answer requests once the server has done what is configured.

        Args:
            model: The model's name.
            configured: The versions that its configuration chooses. One that the server does not
                have, or cannot load, is not waited for.
            on_wait: See `wait_for`.

        Raises:
            SwitchUnfinishedError: The server took too long.
            DeployError: The server serves no version.
            BertQAError: What `wait_for` raises.
        """
        served: set[int] = set()

        def look(states: States) -> str | None:
            served.clear()
            served.update(available(states, model))
            failed = {v for v, each in states.get(model, {}).items() if each.error}
            return difference(served | failed, configured | failed, model)

        missing = self.wait_for(look, on_wait, insist=False)
        if missing is not None:
            raise SwitchUnfinishedError(
                f"After {self.patience:g} s {self.address} still waits for {missing}: nothing was "
                "changed. Run the same command again later."
            )
        if not served:
            raise DeployError(
                f"{self.address} serves no version of {model}: nothing was changed. "
                "Start it with a version that works first."
            )
        return served

    def _asked(self, ask: Callable[[], T], seconds: float) -> T:
        """Ask until the server answers, for so long, and note where it did not."""

        def attempt() -> T:
            try:
                return ask()
            except NO_ANSWER:
                self.was_away = True
                raise

        found = patiently(attempt, seconds, met=self._met)
        self._met = True
        return found

    def _admin(self, timeout: float) -> AdminClient:
        return AdminClient(self.address, self._security, timeout=timeout)
