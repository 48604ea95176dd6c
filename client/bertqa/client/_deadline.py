"""Deadlines of requests, and of questions whose server is away."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bertqa.errors import DeadlineExceededError


@dataclass(slots=True, eq=False)
class Patience:
    """Until when one question waits for its server: one clock for all requests of the question.

    Attributes:
        timeout: Seconds that it waits, counted from the first failure.
        deadline: A time of `time.monotonic()` for the whole answer, instead.
        until: When it gives up; None as long as nothing has failed.
    """

    timeout: float
    deadline: float | None
    until: float | None = field(init=False)

    def __post_init__(self) -> None:
        self.until = self.deadline

    def failed(self, until: float | None = None) -> float:
        """Note a failure, the first of which starts the clock.

        Args:
            until: When to give up if it is the first one; by default the timeout counts from now.

        Returns:
            When the question gives up.
        """
        if self.until is None:
            self.until = time.monotonic() + self.timeout if until is None else until
        return self.until

    def answered(self) -> None:
        """Stop the clock: the model ran. A long text may need many more requests."""
        self.until = self.deadline


def time_left(deadline: float, timeout: float) -> float:
    """Return the seconds that are left.

    Args:
        deadline: A time of `time.monotonic()`.
        timeout: The timeout that the deadline was made of, for the message.

    Raises:
        DeadlineExceededError: The deadline has passed.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise too_late(timeout)
    return left


def too_late(timeout: float) -> DeadlineExceededError:
    """Return the error for a request that could not even be sent in time."""
    return DeadlineExceededError(
        f"There was no answer within {timeout:g} s, which were over before the request was sent: "
        "the time is short, too many questions are in flight, or the server is busy. Pass a "
        "greater timeout= to wait longer."
    )
