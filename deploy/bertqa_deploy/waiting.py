"""What a wait for a server has seen so far: whether to end, to help, or to report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from bertqa.errors import ServerUnreachableError
from bertqa.transport import AVAILABLE, NO_ANSWER, AdminClient, VersionState

LOADING = ("START", "LOADING")
UNLOADING = "UNLOADING"

_FIRST_REPORT_SECONDS = 5.0

States = Mapping[str, Mapping[int, VersionState]]
OnWait = Callable[[str], None]


class Patience:
    """How long something is waited for, and what is said meanwhile.

    Args:
        seconds: How long.
        on_wait: Is called with what is waited for, after 5 seconds and then at doubled intervals.
    """

    def __init__(self, seconds: float, on_wait: OnWait = lambda _: None) -> None:
        self._seconds = seconds
        self._on_wait = on_wait
        self._begun = time.monotonic()
        self._report_after = _FIRST_REPORT_SECONDS

    def is_over(self, missing: str) -> bool:
        """Return whether the time is over; reports what is missing now and then.

        Args:
            missing: What is waited for.
        """
        spent = time.monotonic() - self._begun
        if spent >= self._seconds:
            return True
        if spent >= self._report_after:
            self._report_after *= 2
            self._on_wait(f"waiting for {missing} ({spent:.0f} s of at most {self._seconds:g} s)")
        return False


class Wait(Patience):
    """One wait for a server.

    Args:
        address: The server that is waited for.
        seconds: How long.
        on_wait: Is called with what is waited for, after 5 seconds and then at doubled intervals.

    Attributes:
        has_asked: Whether the server was asked to reload its configuration.
        remark: What else is to be known where the wait was in vain.
    """

    def __init__(self, address: str, seconds: float, on_wait: OnWait) -> None:
        self.has_asked = False
        self.remark = ""
        super().__init__(seconds, on_wait)
        self._address = address
        self._still_since = time.monotonic()
        self._seen: States | None = None

    def saw(self, states: States) -> None:
        """Take note of an answer of the server.

        Args:
            states: The states of all its versions.
        """
        if states != self._seen or versions_in(states, UNLOADING, *LOADING):
            self._still_since = time.monotonic()
        self._seen = states

    def is_still(self, seconds: float) -> bool:
        """Return whether nothing is loading or being retired, or has changed for some time.

        Args:
            seconds: The time.
        """
        in_flight = versions_in(self._seen or {}, UNLOADING, *LOADING)
        return not in_flight and time.monotonic() - self._still_since >= seconds

    def ask_to_reload(self, admin: AdminClient) -> None:
        """Have the server read its configuration, once; it may do so for longer than it is asked.

        Args:
            admin: The server.

        Raises:
            ServerUnreachableError: Cannot connect to the server.
        """
        if self.has_asked:
            return
        self.has_asked = True
        try:
            if not admin.reload():
                self.remark = (
                    " (it refuses /v1/config/reload: restart it, "
                    "or have it look at config.json by itself)"
                )
        except ServerUnreachableError:
            raise
        except NO_ANSWER:
            pass  # It reloads, and what it does can be seen.

    def no_answer(self) -> str:
        """Take note that the server did not answer, and return what is waited for."""
        self._seen = None
        self._still_since = time.monotonic()
        return f"{self._address} to answer"


def versions_in(states: States, *wanted: str) -> dict[str, list[int]]:
    """Return the versions in some states, by model; those that failed are left out.

    Args:
        states: The states of all versions.
        wanted: OVMS's words for the states.
    """
    found = {
        model: sorted(v for v, each in versions.items() if each.state in wanted and not each.error)
        for model, versions in states.items()
    }
    return {model: versions for model, versions in found.items() if versions}


def available(states: States, model: str) -> set[int]:
    """Return the versions of a model that answer requests.

    Args:
        states: The states of all versions.
        model: The model's name.
    """
    return {v for v, each in states.get(model, {}).items() if each.state == AVAILABLE}


def difference(have: set[int], want: set[int], model: str) -> str | None:
    """Return which versions of a model are yet to load or to retire; None if there are none.

    Args:
        have: The versions that are served.
        want: The versions that should be.
        model: The model's name.
    """
    if want - have:
        return f"{named(want - have)} of {model} to load"
    if have - want:
        return f"{named(have - want)} of {model} to be retired"
    return None


def last_requests(states: States) -> str | None:
    """Return which versions are being retired, as what is waited for; None if there are none."""
    retiring = versions_in(states, UNLOADING)
    if not retiring:
        return None
    models = [f"{named(set(versions))} of {model}" for model, versions in retiring.items()]
    return f"the last requests to {', '.join(models)}"


def named(versions: set[int]) -> str:
    """Return "version 1" or "versions 1, 2 and 3"."""
    numbers = sorted(versions)
    if len(numbers) == 1:
        return f"version {numbers[0]}"
    return f"versions {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
