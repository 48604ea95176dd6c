"""Deadlines of requests."""

from __future__ import annotations

import time

from bertqa.errors import DeadlineExceededError


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
