"""Pauses between two attempts of one call, in which nothing is on its way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

SYNC_PAUSE: ContextVar[Callable[[float], object] | None] = ContextVar("SYNC_PAUSE", default=None)
"""What lets so many seconds pass in a call that is made in this context, None to sleep alone."""
ASYNC_PAUSE: ContextVar[Callable[[float], Awaitable[object]] | None] = ContextVar(
    "ASYNC_PAUSE", default=None
)
"""The same for a call that is awaited."""


def sync_pause(seconds: float) -> None:
    """Let some seconds pass between two attempts; see `SYNC_PAUSE`.

    Args:
        seconds: How long.
    """
    (SYNC_PAUSE.get() or time.sleep)(seconds)


async def async_pause(seconds: float) -> None:
    """Let some seconds pass between two attempts; see `ASYNC_PAUSE`.

    Args:
        seconds: How long.
    """
    await (ASYNC_PAUSE.get() or asyncio.sleep)(seconds)
