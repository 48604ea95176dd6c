"""OVMS's limits, which the local engine has too: how many calls and how large ones it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from grpc import StatusCode

from bertqa.artifact import SETTING_RANGES, open_files_limit, usable_cores
from bertqa_serve.engine.request_error import RequestError

THREADS_EXHAUSTED = "Server Threadpool Exhausted"
FEWEST_REST_WORKERS, MOST_REST_WORKERS = SETTING_RANGES["rest_workers"]
_GRPC_THREADS_OF_A_CORE = 8
# OVMS counts on six open files for each REST worker, beside those that it needs itself.
_FILES_OF_A_REST_WORKER = 6
_FILES_OF_THE_SERVER = 15


def most_rest_workers() -> int:
    """Return how many REST workers the limit on open files allows."""
    files = open_files_limit()
    if files is None:
        return MOST_REST_WORKERS
    return (files - _FILES_OF_THE_SERVER) // _FILES_OF_A_REST_WORKER


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes at once. The defaults are OVMS's on this machine.

    Attributes:
        grpc_max_threads: The threads of the gRPC server. One waits for calls, and each of the
            others carries one call; a further call is refused. 0 sets no limit.
        grpc_streams: How many calls one gRPC connection carries at once; further ones wait in the
            client. `grpc.max_concurrent_streams` among the channel arguments replaces it.
        rest_workers: The threads of the REST server, two at least. Each has connections of its own
            and answers one request after the other.
        message_bytes: The size of the largest request, over both protocols.
    """

    grpc_max_threads: int = field(default_factory=lambda: usable_cores() * _GRPC_THREADS_OF_A_CORE)
    grpc_streams: int = field(default_factory=usable_cores)
    rest_workers: int = field(default_factory=lambda: min(usable_cores(), most_rest_workers()))
    message_bytes: int = 1024**3


class GrpcThreads:
    """The threads of the gRPC server.

    Args:
        count: Their number; one waits for calls. 0 sets no limit.
    """

    def __init__(self, count: int) -> None:
        self._free = count - 1 if count else float("inf")

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a thread inside the block.

        Raises:
            RequestError: All threads carry calls.
        """
        if self._free <= 0:
            raise RequestError(StatusCode.RESOURCE_EXHAUSTED, THREADS_EXHAUSTED)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class RestWorkers:
    """The threads of the REST server, as locks: who holds one keeps its connections waiting.

    In OVMS each thread listens by itself, and the kernel assigns connections to it by a hash of the
    client's address.

    Args:
        count: Their number.
    """

    def __init__(self, count: int) -> None:
        self._workers = [asyncio.Lock() for _ in range(max(count, FEWEST_REST_WORKERS))]

    def of(self, client: Hashable) -> asyncio.Lock:
        """Return the worker of a connection, which is known by its client's address and port."""
        return self._workers[hash(client) % len(self._workers)]
