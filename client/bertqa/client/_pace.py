"""The pace of long work that a thread does beside an event loop, or beside the caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from bertqa.errors import ClientStateError, TextTooLongError
from bertqa.qa import Pace, Window

_STRETCH_SECONDS = 0.001


class WorkPace:
    """Called between the steps of long work: ends it where it is late, or nothing needs it.

    It rests every millisecond. A thread that computes without a rest keeps the interpreter's lock
    for 5 ms after another thread asks for it.

    Args:
        deadline: When the work has to be over, a time of `time.monotonic()`.
        timeout: The timeout that the deadline was made of, for the message.
        rest: Called to let other threads have the interpreter's lock; it returns soon.
    """

    def __init__(self, deadline: float, timeout: float, rest: Callable[[], object]) -> None:
        self._rest = rest
        self._deadline = deadline
        self._timeout = timeout
        self._rested_at = time.monotonic()
        self._is_left = False

    def leave(self) -> None:
        """End the work: nothing waits for it."""
        self._is_left = True

    def __call__(self) -> None:
        """Note the end of a step.

        Raises:
            TextTooLongError: The deadline has passed.
            ClientStateError: Nothing waits for the work.
        """
        now = time.monotonic()
        if self._is_left:
            raise ClientStateError("The question was given up.")
        if now >= self._deadline:
            raise too_long(self._timeout)
        if now - self._rested_at >= _STRETCH_SECONDS:
            self._rest()
            self._rested_at = time.monotonic()


def too_long(timeout: float) -> TextTooLongError:
    """Return the error for a text that takes the client itself more than the time that there is."""
    return TextTooLongError(
        f"There was no answer within {timeout:g} s, which were over while the client itself worked "
        "on the texts. It takes a greater timeout, or a shorter context."
    )


class PacedWindows(Sequence[Window]):
    """Windows between which a pace is called."""

    def __init__(self, windows: Sequence[Window], pace: Pace) -> None:
        self._windows = windows
        self._pace = pace

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[Window]:
        for window in self._windows:
            yield window
            self._pace()

    @overload
    def __getitem__(self, index: int) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Window]: ...

    def __getitem__(self, index: int | slice) -> Window | Sequence[Window]:
        self._pace()
        return self._windows[index]
