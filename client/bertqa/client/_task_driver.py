"""Executes effects in the tasks of one event loop: the twin of `bertqa.client._thread_driver`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from bertqa import _defaults
from bertqa.client._async.effects import execute
from bertqa.client._batcher import Outcome
from bertqa.client._concurrency import ConcurrencyLimit
from bertqa.client._deadline import time_left, too_late
from bertqa.client._effects import FetchMetadata, Request
from bertqa.client._model_registry import ModelSpec
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._refusals import Response
from bertqa.client._scheduler import Scheduler
from bertqa.client._shared_batches import SharedBatches
from bertqa.client._short_way import ShortWay
from bertqa.client._turns import Sending, Turn, Turns
from bertqa.errors import BertQAError, ClientStateError
from bertqa.transport import ASYNC_PAUSE, AsyncTransport, InferResult

logger = logging.getLogger(__name__)

# How long a thread waits for a turn of the loop at most: the loop may be stopped for a while.
_TURN_SECONDS = 0.05

T = TypeVar("T")
AsyncPairs = Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]]
ITERABLES = (Iterable, AsyncIterable)


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
        self._shared = SharedBatches(self.limit, self._send)
        self._transport = transport
        self._background: set[asyncio.Task[None]] = set()
        # Fetches that only streams wait for which did not begin them.
        self._fetches: set[asyncio.Future[Response]] = set()
        self._texts = ThreadPoolExecutor(_defaults.TEXTS_AT_ONCE, "bertqa-text")
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

    @property
    def has_outlived_loop(self) -> bool:
        """Whether the event loop that has the connections is over, and can close none."""
        return self._loop is not None and self._loop.is_closed()

    async def answer(
        self,
        started: tuple[Question, AnswerFlow],
        scheduler: Callable[[], Scheduler],
        *,
        timeout: float,
        deadline: float,
    ) -> Outcome:
        """Drive one flow to its outcome.

        Args:
            started: The question with its flow, which has not begun.
            scheduler: Returns a scheduler, which most questions do without.
            timeout: The timeout that the deadline was made of.
            deadline: A time of `time.monotonic()` for all requests together.

        Returns:
            The answers or the error.

        Raises:
            ClientStateError: The client was used in another event loop before.
        """
        self._enter()
        way = ShortWay(*started, self.limit, deadline)
        todo = way.next()
        while todo is not None:
            if isinstance(todo, Sending):
                response = await self._send(todo, timeout)
            else:
                response = await self._shared.run(todo, deadline, timeout)
            todo = way.next(response)
        if way.outcome is not None:
            return way.outcome
        rest = scheduler()
        way.hand_over(rest)
        stream = self.stream(each([]), rest, timeout=timeout, deadline=deadline)
        async with contextlib.aclosing(stream) as outcomes:
            _, outcome = await anext(outcomes)
        return outcome

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
        self._enter()
        bell = _Bell()
        rest = partial(_let_turn, asyncio.get_running_loop())
        turns = Turns(scheduler, self.limit, bell.ring, rest, timeout=timeout, deadline=deadline)
        in_flight: dict[asyncio.Future[Any], Turn] = {}
        try:
            while True:
                if turns.wants_question:
                    turns.add(await anext(started, None))
                while (turn := turns.next()) is not None:
                    in_flight[self._begin(turn, timeout)] = turn
                    await asyncio.sleep(0)
                for question, outcome in turns.outcomes():
                    yield question, outcome
                if turns.is_over:
                    return
                await bell.first_of(in_flight, turns.seconds())
                for future in [each for each in in_flight if each.done()]:
                    turns.receive(in_flight.pop(future), future.result())
                    # Many at once would hold up the other tasks of the loop.
                    await asyncio.sleep(0)
                turns.tick()
        finally:
            turns.close()
            for future, turn in in_flight.items():
                self._leave(future, turn)

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
        for fetch in self._fetches:
            fetch.cancel()
        if self._repeating is not None:
            self._repeating.cancel()

    async def close(self) -> None:
        """Let the threads end that worked on long texts."""
        self._texts.shutdown(wait=False)

    def close_at_exit(self, owner: object, transport: AsyncTransport) -> None:
        """Do nothing: a transport of a loop can be closed in that loop alone.

        Args:
            owner: The client.
            transport: Its transport.
        """

    def _enter(self) -> None:
        if self.is_elsewhere:
            raise ClientStateError(
                "This client belongs to the event loop in which it was used first: connections "
                "do not outlive their loop. Open one in each loop."
            )
        self._loop = asyncio.get_running_loop()

    def _begin(self, turn: Turn, timeout: float) -> asyncio.Future[Any]:
        """Begin a turn: a request in a task, work on a long text in a thread."""
        if isinstance(turn, Sending):
            return asyncio.create_task(self._send(turn, timeout))
        context = contextvars.copy_context()
        try:
            return asyncio.get_running_loop().run_in_executor(self._texts, context.run, turn.run)
        except RuntimeError:
            self._check_connected()
            raise

    def _leave(self, future: asyncio.Future[Any], turn: Turn) -> None:
        """Cancel what a stream has begun, unless other streams wait for it too."""

        def cancel() -> None:
            future.cancel()
            turn.end()

        flight = turn.flight if isinstance(turn, Sending) else None
        if flight is not None and flight.leave_to_others(cancel):
            self._fetches.add(future)
            future.add_done_callback(self._fetches.discard)
            # A task that is cancelled before it begins lands nothing by itself.
            future.add_done_callback(lambda _: turn.end())
        else:
            cancel()

    async def _send(self, sending: Sending, timeout: float) -> Response:
        """Send a request, release its slot, and land its flight."""
        response: Response | None = None
        token = ASYNC_PAUSE.set(partial(_pause, sending, timeout))
        try:
            try:
                self._check_connected()
                left = time_left(sending.deadline, timeout)
                response = await self._execute(sending.request, left)
            except BertQAError as error:
                response = error
            return response
        finally:
            ASYNC_PAUSE.reset(token)
            sending.hold.release(response, timeout)
            if sending.flight is not None:
                assert not isinstance(response, InferResult)
                sending.flight.land(response)

    async def _execute(self, request: Request, timeout: float) -> ModelSpec | InferResult:
        result = await execute(self._transport, request, timeout)
        if isinstance(result, InferResult):
            return result
        assert isinstance(request, FetchMetadata)
        # Reading a tokenizer takes a while, in which the loop has other things to do.
        return await asyncio.to_thread(request.learn, result)

    def _check_connected(self) -> None:
        if self._disconnected:
            raise ClientStateError("This client is closed.")


async def _pause(sending: Sending, timeout: float, seconds: float) -> None:
    """Let some seconds pass between two attempts of a request, which holds no slot meanwhile."""
    sending.hold.pause()
    await asyncio.sleep(seconds)
    granted = asyncio.get_running_loop().create_future()
    if not sending.hold.resume(partial(_set, granted)):
        try:
            async with asyncio.timeout(time_left(sending.deadline, timeout)):
                await granted
        except TimeoutError:
            raise too_late(timeout) from None
    sending.hold.resumed()


async def _repeat(work: Callable[[], Awaitable[None]], pause: Callable[[], float | None]) -> None:
    with contextlib.suppress(ClientStateError):
        while (seconds := pause()) is not None:
            await asyncio.sleep(seconds)
            await work()


def _let_turn(loop: asyncio.AbstractEventLoop) -> None:
    """Wait in a thread until a loop has done what is due now."""
    turned = threading.Event()
    try:
        loop.call_soon_threadsafe(turned.set)
    except RuntimeError:  # The loop is closed.
        return
    turned.wait(_TURN_SECONDS)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Bell:
    """Ends the wait of a stream."""

    def __init__(self) -> None:
        self._rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ring(self) -> None:
        """End the wait, or the next one."""
        _set(self._rung)

    async def first_of(self, futures: Iterable[asyncio.Future[Any]], pause: float | None) -> None:
        """Wait for the first that is done, or for the bell, for so long at most."""
        if self._rung.done():
            self._rung = asyncio.get_running_loop().create_future()
            pause = 0.0
        if pause == 0.0:
            await asyncio.sleep(0)
        else:
            await asyncio.wait(
                {*futures, self._rung}, timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )


async def each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Yield the items of an iterable of either kind."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
