"""Executes effects in threads: the twin of `bertqa.client._task_driver`."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from bertqa import _defaults
from bertqa.client._batcher import Outcome
from bertqa.client._concurrency import ConcurrencyLimit
from bertqa.client._deadline import time_left, too_late
from bertqa.client._effects import FetchMetadata, Request
from bertqa.client._model_registry import ModelSpec
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._refusals import Response
from bertqa.client._scheduler import Scheduler
from bertqa.client._short_way import ShortWay
from bertqa.client._sync.effects import execute
from bertqa.client._turns import Sending, Turn, Turns
from bertqa.errors import BertQAError, ClientStateError
from bertqa.transport import CANCELLATION, SYNC_PAUSE, Cancellation, InferResult, Transport

logger = logging.getLogger(__name__)

_BACKGROUND_THREADS = 2
_REST_SECONDS = 0.0001
# A request that pauses has a thread, but no slot.
_REQUEST_THREADS = 4 * _defaults.REQUESTS_IN_FLIGHT

T = TypeVar("T")
Pairs = Iterable[tuple[str, str]]
ITERABLES = (Iterable,)


class ThreadDriver:
    """Drives flows over a transport, with an adaptive limit of the requests in flight.

    A pool starts its threads when they are needed: a single question needs none.

    Args:
        transport: The transport to call; the driver does not close it.

    Attributes:
        polling: Held while the split of the traffic is read.
        limit: How many requests all streams together may have in flight.
        is_elsewhere: Never: threads share a client.
        has_outlived_loop: Never: threads need no event loop.
    """

    is_elsewhere = False
    has_outlived_loop = False

    def __init__(self, transport: Transport) -> None:
        self.polling = threading.Lock()
        self.limit = ConcurrencyLimit()
        self._transport = transport
        self._requests = ThreadPoolExecutor(_REQUEST_THREADS, "bertqa-request")
        self._texts = ThreadPoolExecutor(_defaults.TEXTS_AT_ONCE, "bertqa-text")
        self._background = ThreadPoolExecutor(_BACKGROUND_THREADS, "bertqa-shadow")
        self._background_slots = threading.BoundedSemaphore(_defaults.SHADOWS_WAITING)
        self._disconnected = False
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._repeating: threading.Thread | None = None

    def answer(
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
        """
        way = ShortWay(*started, self.limit, deadline)
        sending = way.next()
        while isinstance(sending, Sending):
            sending = way.next(self._send(sending, timeout))
        if way.outcome is not None:
            return way.outcome
        rest = scheduler()
        way.hand_over(rest)
        stream = self.stream(each([]), rest, timeout=timeout, deadline=deadline)
        with contextlib.closing(stream) as outcomes:
            _, outcome = next(outcomes)
        return outcome

    def stream(
        self,
        started: Iterator[tuple[Question, AnswerFlow]],
        scheduler: Scheduler,
        *,
        timeout: float,
        deadline: float | None = None,
    ) -> Generator[tuple[Question, Outcome], None, None]:
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
        """
        mailbox: SimpleQueue[Future[Any] | None] = SimpleQueue()
        turns = Turns(
            scheduler,
            self.limit,
            partial(mailbox.put, None),
            partial(time.sleep, _REST_SECONDS),
            timeout=timeout,
            deadline=deadline,
        )
        in_flight: dict[Future[Any], _Begun] = {}
        try:
            while True:
                if turns.wants_question:
                    turns.add(next(started, None))
                while (turn := turns.next()) is not None:
                    if isinstance(turn, Sending) and turns.has_one_turn:
                        # Nothing else to do meanwhile: another thread is not needed.
                        turns.receive(turn, self._send(turn, timeout))
                        continue
                    future, begun = self._begin(turn, timeout)
                    in_flight[future] = begun
                    future.add_done_callback(mailbox.put)
                yield from turns.outcomes()
                if turns.is_over:
                    return
                for future in _arrived(mailbox, turns.seconds()):
                    turns.receive(in_flight.pop(future).turn, future.result())
                turns.tick()
        finally:
            turns.close()
            for future, begun in in_flight.items():
                _leave(future, begun)

    def start(self, work: Callable[[], None]) -> bool:
        """Start work in the background, unless too much of it waits already.

        Args:
            work: What to call; it raises no error.

        Returns:
            Whether it was started.
        """
        if not self._background_slots.acquire(blocking=False):
            return False

        def run() -> None:
            try:
                work()
            except BaseException:
                # The pool would keep it to itself: nothing reads the future.
                logger.exception("The shadow of a question ended unexpectedly")
                raise
            finally:
                self._background_slots.release()

        try:
            self._background.submit(run)
        except RuntimeError:  # The client is being closed, or the process has too many threads.
            self._background_slots.release()
            return False
        return True

    def repeat(self, work: Callable[[], None], pause: Callable[[], float | None]) -> None:
        """Repeat work in the background until the driver disconnects, unless it is done already.

        Args:
            work: What to call. What it raises ends it. It must not hold the client, which may be
                forgotten unclosed.
            pause: Returns the seconds before each call; None ends it.
        """
        if self._repeating is not None and self._repeating.is_alive():
            return
        with self._starting:
            if self._repeating is None or not self._repeating.is_alive():
                self._repeating = threading.Thread(
                    target=_repeat,
                    args=(work, pause, self._ended),
                    name="bertqa-split",
                    daemon=True,
                )
                self._repeating.start()

    def finish(self) -> None:
        """Wait for the work in the background; no more can be started."""
        self._background.shutdown()

    def disconnect(self) -> None:
        """Refuse further requests; those in flight end when the transport is closed."""
        self._disconnected = True
        self._ended.set()

    def close(self) -> None:
        """Wait for the threads of requests to end."""
        self._requests.shutdown()
        self._texts.shutdown(wait=False)

    def close_at_exit(self, owner: object, transport: Transport) -> None:
        """Close a transport once its owner is forgotten, or open at exit.

        A process that was forked meanwhile leaves it alone: its locks may be held for ever there.

        Args:
            owner: The client.
            transport: Its transport.
        """
        process = os.getpid()
        weakref.finalize(owner, lambda: transport.close() if os.getpid() == process else None)

    def _begin(self, turn: Turn, timeout: float) -> tuple[Future[Any], _Begun]:
        """Begin a turn in a thread of a pool, within the trace of this one."""
        begun = _Begun(turn, Cancellation())
        context = contextvars.copy_context()
        context.run(CANCELLATION.set, begun.cancellation)
        try:
            if isinstance(turn, Sending):
                return self._requests.submit(context.run, self._send, turn, timeout), begun
            return self._texts.submit(context.run, turn.run), begun
        except RuntimeError:
            turn.end()
            self._check_connected()
            raise

    def _send(self, sending: Sending, timeout: float) -> Response:
        """Send a request in this thread, release its slot, and land its flight."""
        response: Response | None = None
        token = SYNC_PAUSE.set(partial(_pause, sending, timeout))
        try:
            try:
                self._check_connected()
                left = time_left(sending.deadline, timeout)
                response = self._execute(sending.request, left)
            except BertQAError as error:
                response = error
            return response
        finally:
            SYNC_PAUSE.reset(token)
            sending.hold.release(response, timeout)
            if sending.flight is not None:
                assert not isinstance(response, InferResult)
                sending.flight.land(response)

    def _execute(self, request: Request, timeout: float) -> ModelSpec | InferResult:
        result = execute(self._transport, request, timeout)
        if isinstance(result, InferResult):
            return result
        assert isinstance(request, FetchMetadata)
        return request.learn(result)

    def _check_connected(self) -> None:
        if self._disconnected:
            raise ClientStateError("This client is closed.")


@dataclass(frozen=True, slots=True)
class _Begun:
    """A turn that a thread of a pool has, and what ends its call."""

    turn: Turn
    cancellation: Cancellation


def _leave(future: Future[Any], begun: _Begun) -> None:
    """Cancel what a stream has begun, unless other streams wait for it too."""

    def cancel() -> None:
        if not future.cancel():
            begun.cancellation.cancel()
        begun.turn.end()

    flight = begun.turn.flight if isinstance(begun.turn, Sending) else None
    if flight is None or not flight.leave_to_others(cancel):
        cancel()


def _pause(sending: Sending, timeout: float, seconds: float) -> None:
    """Let some seconds pass between two attempts of a request, which holds no slot meanwhile."""
    sending.hold.pause()
    time.sleep(seconds)
    granted = threading.Event()
    if not sending.hold.resume(granted.set) and not granted.wait(
        time_left(sending.deadline, timeout)
    ):
        raise too_late(timeout)
    if sending.hold.is_over:
        raise ClientStateError("The question was given up.")
    sending.hold.resumed()


def _arrived(
    mailbox: SimpleQueue[Future[Any] | None], pause: float | None
) -> Iterator[Future[Any]]:
    """Yield the turns that are done, after waiting for one, or for a slot, for so long."""
    with contextlib.suppress(Empty):
        first = mailbox.get(timeout=pause) if pause != 0 else mailbox.get_nowait()
        while True:
            if first is not None:
                yield first
            first = mailbox.get_nowait()


def _repeat(
    work: Callable[[], None], pause: Callable[[], float | None], ended: threading.Event
) -> None:
    with contextlib.suppress(ClientStateError):
        while (seconds := pause()) is not None and not ended.wait(seconds):
            work()


def each(items: Iterable[T]) -> Iterator[T]:
    """Return an iterator over the items."""
    return iter(items)
