"""Asking again where a server is away or too busy to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from bertqa.errors import (
    CertificateError,
    DeadlineExceededError,
    ServerOverloadedError,
    ServerUnreachableError,
)
from bertqa.transport._retries import pauses

T = TypeVar("T")

NO_ANSWER: Final = (ServerUnreachableError, DeadlineExceededError, ServerOverloadedError)
"""What a server that is slow, full or restarting looks like from outside."""
ANSWER_SECONDS: Final = 10.0
"""How long to wait for one answer to an administrative question before it is asked again."""


def patiently(ask: Callable[[], T], seconds: float, *, met: bool = True) -> T:
    """Ask until a server answers, with growing pauses.

    Args:
        ask: The question, which may be asked any number of times.
        seconds: How long to ask again.
        met: Whether the server has answered before. An address that refuses the connection is
            given up after a few attempts otherwise: it may be the wrong one.

    Returns:
        What `ask` returns.

    Raises:
        ServerUnreachableError: Cannot connect to the server.
        DeadlineExceededError: The server did not answer in time.
        ServerOverloadedError: The server has no room for the request.
        BertQAError: What else `ask` raises, at once.
    """
    deadline = time.monotonic() + seconds
    few, many = pauses(deadline, patient=False), pauses(deadline, patient=True)
    while True:
        try:
            return ask()
        except CertificateError:
            raise
        except NO_ANSWER as error:
            is_stranger = not met and isinstance(error, ServerUnreachableError)
            pause = next(few if is_stranger else many, None)
            if pause is None:
                raise
        time.sleep(pause)
