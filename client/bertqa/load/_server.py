"""What a server on this machine takes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bertqa.transport import is_loopback
from bertqa.transport._address import Address

_LOOK_SECONDS = 0.25


@dataclass(slots=True)
class Usage:
    """What a server took while a block ran.

    Attributes:
        cores: How many cores; None where it is not on this machine, or may not be looked at.
        most_bytes: How much memory at most; likewise.
    """

    cores: float | None = None
    most_bytes: int | None = None


@contextmanager
def watching(address: str) -> Iterator[Usage]:
    """Watch the server at an address, with the processes that it started.

    Args:
        address: Its address.

    Yields:
        What it took, once the block has ended.
    """
    usage = Usage()
    process = _listening_at(Address.parse(address))
    if process is None:
        yield usage
        return
    ended, most = threading.Event(), [0]

    def look() -> None:
        while True:
            most[0] = max(most[0], _bytes_of(process))
            if ended.wait(_LOOK_SECONDS):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    begun, before = time.monotonic(), _seconds_of(process)
    try:
        yield usage
    finally:
        wall = time.monotonic() - begun
        after = _seconds_of(process)
        ended.set()
        watcher.join()
        if before is not None and after is not None and wall:
            usage.cores, usage.most_bytes = (after - before) / wall, most[0]


def _listening_at(address: Address) -> psutil.Process | None:
    """Return the process on this machine that listens on the port of an address, if it is seen."""
    if not is_loopback(address.host):
        return None
    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    for each in found:
        if each.status == psutil.CONN_LISTEN and each.laddr.port == address.port and each.pid:
            return psutil.Process(each.pid)
    return None


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _seconds_of(process: psutil.Process) -> float | None:
    try:
        times = [each.cpu_times() for each in _family(process)]
    except psutil.Error:
        return None
    return sum(each.user + each.system for each in times) if times else None


def _bytes_of(process: psutil.Process) -> int:
    try:
        return sum(each.memory_info().rss for each in _family(process))
    except psutil.Error:
        return 0
