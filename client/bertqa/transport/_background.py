"""Calls in the background that can be waited for, or left: by tasks and by threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from bertqa.transport._contract import AsyncTransport, Transport

T = TypeVar("T")
AsyncTransportCall = Callable[[AsyncTransport, float], Awaitable[T]]
SyncTransportCall = Callable[[Transport, float], T]


class AsyncCall:
    """The twin of `SyncCall`: a task."""

    @staticmethod
    async def run(
        call: Callable[[], Awaitable[T]], look: Callable[[], Awaitable[None]], seconds: float
    ) -> T:
        """Return the result of a call; see `SyncCall.run`."""

        async def awaited() -> T:
            return await call()

        task = asyncio.create_task(awaited())
        try:
            while not (await asyncio.wait({task}, timeout=seconds))[0]:
                await look()
            return await task
        finally:
            task.cancel()
            # A task whose error is not read is reported on stderr.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    @staticmethod
    def start(work: Callable[[], Awaitable[None]]) -> None:
        """Start work that is not waited for; see `SyncCall.start`."""

        async def awaited() -> None:
            with contextlib.suppress(Exception):
                await work()

        task = asyncio.create_task(awaited())
        _started.add(task)
        task.add_done_callback(_started.discard)


# An event loop keeps weak references to tasks alone.
_started: set[asyncio.Task[None]] = set()


class SyncCall:
    """A call in a thread of its own, which does not outlive the process."""

    @staticmethod
    def run(call: Callable[[], T], look: Callable[[], None], seconds: float) -> T:
        """Return the result of a call.

        Args:
            call: What to call.
            look: Called as long as there is no result; an error that it raises leaves the call to
                itself.
            seconds: How long to wait before each `look`.

        Returns:
            The result. An error of the call is raised here.
        """
        future: Future[T] = Future()
        context = contextvars.copy_context()

        def run() -> None:
            try:
                future.set_result(context.run(call))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, name="bertqa-call", daemon=True).start()
        while not wait([future], seconds).done:
            look()
        return future.result()

    @staticmethod
    def start(work: Callable[[], None]) -> None:
        """Start work that is not waited for.

        Args:
            work: What to call; its errors are dropped.
        """

        def run() -> None:
            with contextlib.suppress(Exception):
                work()

        threading.Thread(target=run, name="bertqa-look", daemon=True).start()
