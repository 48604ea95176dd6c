"""Executes effects in the tasks of one event loop: the twin of `bertqa.client._thread_driver`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from typing import TypeVar

from bertqa import _defaults
from bertqa.client._async.effects import execute
from bertqa.client._batcher import Outcome
from bertqa.client._deadline import time_left, too_late
from bertqa.client._effects import Effect, FetchMetadata, Sleep
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._scheduler import Response, Scheduler
from bertqa.errors import BertQAError, ClientStateError
from bertqa.transport import AsyncTransport

logger = logging.getLogger(__name__)

T = TypeVar("T")
AsyncPairs = Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]]


class TaskDriver:
    """Drives flows over a transport, with a bounded number of requests in flight.

    Args:
        transport: The transport to call; the driver does not close it.

    Attributes:
        polling: Held while the split of the traffic is read.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self.polling = asyncio.Lock()
        self._transport = transport
        self._slots = asyncio.Semaphore(_defaults.REQUESTS_IN_FLIGHT)
        self._background: set[asyncio.Task[None]] = set()
        self._disconnected = False

    async def stream(
        self,
        started: AsyncIterator[tuple[Question, AnswerFlow]],
        scheduler: Scheduler,
        *,
        timeout: float,
        deadline: float | None = None,
    ) -> AsyncGenerator[tuple[Question, Outcome], None]:
        """Drive flows to their outcomes.

        Args:
            started: Questions with flows that have not begun; read as far ahead as the scheduler
                wants it.
            scheduler: A scheduler of this stream's own.
            timeout: Seconds that each request may take.
            deadline: A time of `time.monotonic()` for all requests together, instead.

        Yields:
            Each question with its answers or its error, in order. Closing the generator cancels
            what is in flight.
        """
        in_flight: dict[asyncio.Task[Response], Effect] = {}
        exhausted = False
        try:
            while True:
                if not exhausted and scheduler.wants_more:
                    more = await anext(started, None)
                    if more is None:
                        exhausted = True
                    elif len(more[0].context) > _defaults.LONG_CONTEXT:
                        # Tokenising takes a while, in which the loop has other things to do.
                        await asyncio.to_thread(scheduler.add, *more)
                    else:
                        scheduler.add(*more)
                while (effect := scheduler.next_effect(last=exhausted)) is not None:
                    task = asyncio.create_task(self._execute(effect, timeout, deadline))
                    in_flight[task] = effect
                for question, outcome in scheduler.ready():
                    yield question, outcome
                if exhausted and not in_flight and scheduler.is_empty:
                    return
                if not in_flight:
                    await asyncio.sleep(0)
                    continue
                idle = exhausted or not scheduler.wants_more
                done, _ = await asyncio.wait(
                    in_flight,
                    timeout=None if idle else 0,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    effect = in_flight.pop(task)
                    if isinstance(effect, FetchMetadata):
                        # Reading a tokenizer takes a while, too.
                        await asyncio.to_thread(scheduler.receive, effect, task.result())
                    else:
                        scheduler.receive(effect, task.result())
        finally:
            for task in in_flight:
                task.cancel()

    def start(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Start work in the background, unless too much of it waits already.

        Args:
            work: What to await; it raises no error.

        Returns:
            Whether it was started.
        """
        if len(self._background) >= _defaults.SHADOWS_WAITING:
            return False

        async def run() -> None:
            try:
                await work()
            except (asyncio.CancelledError, KeyboardInterrupt):
                raise
            except BaseException:
                # Nothing reads the result of the task.
                logger.exception("The shadow of a question ended unexpectedly")

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return True

    async def finish(self) -> None:
        """Wait for the work in the background."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def disconnect(self) -> None:
        """Refuse further requests; those in flight end when the transport is closed."""
        self._disconnected = True

    async def close(self) -> None:
        """Do nothing: tasks end with their loop."""

    def close_at_exit(self, owner: object, transport: AsyncTransport) -> None:
        """Do nothing: a transport of a loop can be closed in that loop alone.

        Args:
            owner: The client.
            transport: Its transport.
        """

    async def _execute(self, effect: Effect, timeout: float, deadline: float | None) -> Response:
        if isinstance(effect, Sleep):
            await asyncio.sleep(effect.seconds)
            return None
        until = deadline or time.monotonic() + timeout
        try:
            if self._disconnected:
                raise ClientStateError("This client is closed.")
            try:
                async with asyncio.timeout(time_left(until, timeout)):
                    await self._slots.acquire()
            except TimeoutError as error:
                raise too_late(timeout) from error
            try:
                return await execute(self._transport, effect, time_left(until, timeout))
            finally:
                self._slots.release()
        except BertQAError as error:
            return error


async def each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Yield the items of an iterable of either kind."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
