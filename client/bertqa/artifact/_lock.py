"""Locks that the system drops when their holder dies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

FOR_EVER = -1.0


def file_lock(path: Path) -> FileLock:
    """Return a lock on a file, which is created if missing.

    On a file system without locks, taking it raises an OSError: a lock that is only a file would
    outlive its holder.

    Args:
        path: The file that is locked.

    Returns:
        The lock, not yet taken.
    """
    return FileLock(path, fallback_to_soft=False)


def acquire(lock: FileLock, wait_seconds: float, on_wait: Callable[[], None]) -> None:
    """Take a lock, and say so before waiting for one that is held.

    Args:
        lock: The lock.
        wait_seconds: How long to wait; 0 is not at all, `FOR_EVER` without an end.
        on_wait: Called once before the wait begins.

    Raises:
        filelock.Timeout: The lock is held, and was not dropped in time.
        OSError: Its file cannot be made or locked.
    """
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=0)
        return
    if wait_seconds:
        on_wait()
    lock.acquire(timeout=wait_seconds)
