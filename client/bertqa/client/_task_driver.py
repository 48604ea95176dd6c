"""Executes effects in the tasks of one event loop: the twin of `bertqa.client._thread_driver`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
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
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from bertqa import _defaults
from bertqa.client._async.effects import execute
from bertqa.client._batcher import Outcome
from bertqa.client._concurrency import ConcurrencyLimit, Slot, Verdict, verdict
from bertqa.client._deadline import time_left, too_late
from bertqa.client._effects import FetchMetadata, Request, Sleep
from bertqa.client._model_registry import ModelSpec
from bertqa.client._pauses import begin_pauses, end_pauses, seconds_until
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._refusals import Response
from bertqa.client._scheduler import Scheduler
from bertqa.errors import BertQAError, ClientStateError
from bertqa.transport import AsyncTransport, InferResult

logger = logging.getLogger(__name__)

T = TypeVar("T")
AsyncPairs = Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]]
ITERABLES = (Iterable, AsyncIterable)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request that a task sends, and the slot that it holds."""

    request: Request
    slot: Slot


class TaskDriver:
    """Drives flows over a transport, with an adaptive limit of the requests in flight.

    Args:
        transport: The transport to call; the driver does not close it.

    Attributes:
        polling: Held while the split of the traffic is read.
        limit: How many requests all streams together may have in flight.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self.polling = asyncio.Lock()
        self.limit = ConcurrencyLimit()
        self._transport = transport
        self._background: set[asyncio.Task[None]] = set()
        self._disconnected = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._repeating: asyncio.Task[None] | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether another event loop than the running one has the connections.

        Raises:
            ClientStateError: None of asyncio runs.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError as error:
            raise ClientStateError(
                "AsyncQAClient needs a running event loop of asyncio: use QAClient without one."
            ) from error
        return self._loop not in (None, running)

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
            timeout: Seconds that each request may take, once it is sent.
            deadline: A time of `time.monotonic()` for all requests together, instead.

        Yields:
            Each question with its answers or its error, in order. Closing the generator cancels
            what is in flight, and releases its slots.

        Raises:
            ClientStateError: The client was used in another event loop before.
        """
        if self.is_elsewhere:
            raise ClientStateError(
                "This client belongs to the event loop in which it was used first: connections "
                "do not outlive their loop. Open one in each loop."
            )
        self._loop = asyncio.get_running_loop()
        in_flight: dict[asyncio.Task[Response], _Sent] = {}
        sleeping: dict[Sleep, float] = {}
        # The slot for the next request. At most one is waited for, so that streams take turns.
        slot: Slot | None = None
        granted: asyncio.Future[None] | None = None
        exhausted = False
        try:
            while True:
                if not exhausted and scheduler.wants_more:
                    more = await anext(started, None)
                    if more is None:
                        exhausted = True
                    elif _is_long(more[0].context):
                        # Tokenising takes a while, in which the loop has other things to do.
                        await asyncio.to_thread(scheduler.add, *more)
                    else:
                        scheduler.add(*more)
                while scheduler.has_request(last=exhausted):
                    if slot is None:
                        granted = asyncio.get_running_loop().create_future()
                        slot = self.limit.request(partial(_set, granted))
                    is_late = deadline is not None and time.monotonic() >= deadline
                    if not (slot.is_held or is_late):
                        break
                    request = scheduler.next_request(last=exhausted)
                    if request is None:
                        break
                    if is_late:
                        scheduler.receive(request, too_late(timeout))
                        continue
                    task = asyncio.create_task(self._send(request, slot, timeout, deadline))
                    in_flight[task] = _Sent(request, slot)
                    slot = None
                begin_pauses(scheduler, sleeping)
                outcomes = list(scheduler.ready())
                if slot is not None and (outcomes or not scheduler.has_request(last=exhausted)):
                    # While this stream is left it uses no slot, and others should not wait for one.
                    self.limit.release(slot)
                    slot = None
                for question, outcome in outcomes:
                    yield question, outcome
                if exhausted and not (in_flight or sleeping) and scheduler.is_empty:
                    return
                pause: float | None = 0.0
                if (exhausted or not scheduler.wants_more) and (in_flight or sleeping or slot):
                    pause = seconds_until(sleeping, deadline if slot else None)
                awaited: set[asyncio.Future[Any]] = {*in_flight}
                if slot is not None and granted is not None:
                    awaited.add(granted)
                await _first_of(awaited, pause)
                for task in [each for each in in_flight if each.done()]:
                    request = in_flight.pop(task).request
                    scheduler.receive(request, task.result())
                end_pauses(scheduler, sleeping)
        finally:
            for task, sent in in_flight.items():
                task.cancel()
                self.limit.release(sent.slot)
            if slot is not None:
                self.limit.release(slot)

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

    def repeat(
        self, work: Callable[[], Awaitable[None]], pause: Callable[[], float | None]
    ) -> None:
        """Repeat work in the background until the driver disconnects, unless it is done already.

        Args:
            work: What to await. What it raises ends it.
            pause: Returns the seconds before each time; None ends it.
        """
        if self._disconnected or not (self._repeating is None or self._repeating.done()):
            return
        # It is of no question, so that it is not within the trace of one.
        context = contextvars.Context()
        self._repeating = asyncio.create_task(_repeat(work, pause), context=context)

    async def finish(self) -> None:
        """Wait for the work in the background."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def disconnect(self) -> None:
        """Refuse further requests; those in flight end when the transport is closed."""
        self._disconnected = True
        if self._repeating is not None:
            self._repeating.cancel()

    async def close(self) -> None:
        """Do nothing: tasks end with their loop."""

    def close_at_exit(self, owner: object, transport: AsyncTransport) -> None:
        """Do nothing: a transport of a loop can be closed in that loop alone.

        Args:
            owner: The client.
            transport: Its transport.
        """

    async def _send(
        self, request: Request, slot: Slot, timeout: float, deadline: float | None
    ) -> Response:
        """Send a request, and release its slot."""
        begin = time.monotonic()
        ending = Verdict.NOTHING
        try:
            response: Response
            try:
                if self._disconnected:
                    raise ClientStateError("This client is closed.")
                left = time_left(deadline or begin + timeout, timeout)
                response = await self._execute(request, left)
            except BertQAError as error:
                response = error
            ending = verdict(response, time.monotonic() - begin, timeout)
            return response
        finally:
            self.limit.release(slot, ending)

    async def _execute(self, request: Request, timeout: float) -> ModelSpec | InferResult:
        if isinstance(request, FetchMetadata) and (known := request.known()) is not None:
            return known
        result = await execute(self._transport, request, timeout)
        if isinstance(result, InferResult):
            return result
        assert isinstance(request, FetchMetadata)
        # Reading a tokenizer takes a while, in which the loop has other things to do.
        return await asyncio.to_thread(request.learn, result)


async def _repeat(work: Callable[[], Awaitable[None]], pause: Callable[[], float | None]) -> None:
    with contextlib.suppress(ClientStateError):
        while (seconds := pause()) is not None:
            await asyncio.sleep(seconds)
            await work()


def _is_long(context: object) -> bool:
    """Whether a text is long, if it is one: that is checked later."""
    return isinstance(context, str) and len(context) > _defaults.LONG_CONTEXT


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _first_of(awaited: set[asyncio.Future[Any]], pause: float | None) -> None:
    """Wait for the first that is done, for so long at most."""
    if awaited:
        await asyncio.wait(awaited, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(pause or 0.0)


async def each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Yield the items of an iterable of either kind."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
