"""Locks that the system drops when their holder dies."""

from __future__ import annotations

import contextlib
import os
import socket
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
    """Take a lock, write down who has it, and say so before waiting for one that is held.

    Args:
        lock: The lock.
        wait_seconds: How long to wait; 0 is not at all, `FOR_EVER` without an end.
        on_wait: Called once before the wait begins.

    Raises:
        filelock.Timeout: The lock is held, and was not dropped in time.
        OSError: Its file cannot be made or locked.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if wait_seconds:
            on_wait()
        lock.acquire(timeout=wait_seconds)
    with contextlib.suppress(OSError):  # On a full disk the lock holds all the same.
        Path(lock.lock_file).write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")


def holder_of(path: Path) -> str:
    """Return who has a lock that is held, for a message.

    Args:
        path: The file that is locked.

    Returns:
        Such as "process 4711 on node-1", or "another process" where it is not known.
    """
    try:
        pid, host = path.read_text(encoding="utf-8").split()
        return f"process {int(pid)} on {host}"
    except (OSError, ValueError):
        return "another process"
