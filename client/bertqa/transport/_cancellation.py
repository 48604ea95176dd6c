"""Ending a call from outside the thread that waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar


class Cancellation:
    """Ends the calls of one request, which a thread waits for, when nothing needs it any more."""

    def __init__(self) -> None:
        # A generator that the garbage collector closes may cancel at any point.
        self._lock = threading.RLock()
        self._cancel: Callable[[], object] | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """End the call that is under way, and any that would follow."""
        with self._lock:
            self._is_cancelled = True
            if self._cancel is not None:
                self._cancel()

    def watch(self, cancel: Callable[[], object]) -> None:
        """Note how to end the call that is under way now.

        Args:
            cancel: Ends it; called at once where the request is cancelled already.
        """
        with self._lock:
            self._cancel = cancel
            if self._is_cancelled:
                cancel()


CANCELLATION: ContextVar[Cancellation | None] = ContextVar("CANCELLATION", default=None)
"""What ends the calls that are made in this context, None where nothing does."""
