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
from typing import TypeVar

from bertqa import _defaults
from bertqa.client._batcher import Outcome
from bertqa.client._concurrency import ConcurrencyLimit, Slot, Verdict, verdict
from bertqa.client._deadline import time_left, too_late
from bertqa.client._effects import FetchMetadata, Request, Sleep
from bertqa.client._model_registry import ModelSpec
from bertqa.client._pauses import begin_pauses, end_pauses, seconds_until
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._refusals import Response
from bertqa.client._scheduler import Scheduler
from bertqa.client._sync.effects import execute
from bertqa.errors import BertQAError, ClientStateError
from bertqa.transport import CANCELLATION, Cancellation, InferResult, Transport

logger = logging.getLogger(__name__)

_BACKGROUND_THREADS = 2

T = TypeVar("T")
Pairs = Iterable[tuple[str, str]]
ITERABLES = (Iterable,)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request that a thread of the pool sends, the slot that it holds, and what ends it."""

    request: Request
    slot: Slot
    cancellation: Cancellation


class ThreadDriver:
    """Drives flows over a transport, with an adaptive limit of the requests in flight.

    A pool starts its threads when they are needed: a single question needs none.

    Args:
        transport: The transport to call; the driver does not close it.

    Attributes:
        polling: Held while the split of the traffic is read.
        limit: How many requests all streams together may have in flight.
        is_elsewhere: Never: threads share a client.
    """

    is_elsewhere = False

    def __init__(self, transport: Transport) -> None:
        self.polling = threading.Lock()
        self.limit = ConcurrencyLimit()
        self._transport = transport
        self._requests = ThreadPoolExecutor(_defaults.REQUESTS_IN_FLIGHT, "bertqa-request")
        self._background = ThreadPoolExecutor(_BACKGROUND_THREADS, "bertqa-shadow")
        self._background_slots = threading.BoundedSemaphore(_defaults.SHADOWS_WAITING)
        self._disconnected = False
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._repeating: threading.Thread | None = None

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
        mailbox: SimpleQueue[Future[Response] | None] = SimpleQueue()
        in_flight: dict[Future[Response], _Sent] = {}
        sleeping: dict[Sleep, float] = {}
        # The slot for the next request. At most one is waited for, so that streams take turns.
        slot: Slot | None = None
        exhausted = False
        try:
            while True:
                if not exhausted and scheduler.wants_more:
                    more = next(started, None)
                    if more is None:
                        exhausted = True
                    else:
                        scheduler.add(*more)
                while scheduler.has_request(last=exhausted):
                    if slot is None:
                        slot = self.limit.request(partial(mailbox.put, None))
                    is_late = deadline is not None and time.monotonic() >= deadline
                    if not (slot.is_held or is_late):
                        break
                    request = scheduler.next_request(last=exhausted)
                    if request is None:
                        break
                    if is_late:
                        scheduler.receive(request, too_late(timeout))
                        continue
                    begin_pauses(scheduler, sleeping)
                    if exhausted and not (
                        in_flight or sleeping or scheduler.has_request(last=exhausted)
                    ):
                        # Nothing else to do meanwhile: another thread is not needed.
                        scheduler.receive(request, self._send(request, slot, timeout, deadline))
                    else:
                        future, sent = self._submit(request, slot, timeout, deadline)
                        in_flight[future] = sent
                        future.add_done_callback(mailbox.put)
                    slot = None
                begin_pauses(scheduler, sleeping)
                outcomes = list(scheduler.ready())
                if slot is not None and (outcomes or not scheduler.has_request(last=exhausted)):
                    # While this stream is left it uses no slot, and others should not wait for one.
                    self.limit.release(slot)
                    slot = None
                yield from outcomes
                if exhausted and not (in_flight or sleeping) and scheduler.is_empty:
                    return
                pause: float | None = 0.0
                if (exhausted or not scheduler.wants_more) and (in_flight or sleeping or slot):
                    pause = seconds_until(sleeping, deadline if slot else None)
                for future in _arrived(mailbox, pause):
                    scheduler.receive(in_flight.pop(future).request, future.result())
                end_pauses(scheduler, sleeping)
        finally:
            for future, sent in in_flight.items():
                if not future.cancel():
                    sent.cancellation.cancel()
                self.limit.release(sent.slot)
            if slot is not None:
                self.limit.release(slot)

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

    def close_at_exit(self, owner: object, transport: Transport) -> None:
        """Close a transport once its owner is forgotten, or open at exit.

        A process that was forked meanwhile leaves it alone: its locks may be held for ever there.

        Args:
            owner: The client.
            transport: Its transport.
        """
        process = os.getpid()
        weakref.finalize(owner, lambda: transport.close() if os.getpid() == process else None)

    def _submit(
        self, request: Request, slot: Slot, timeout: float, deadline: float | None
    ) -> tuple[Future[Response], _Sent]:
        """Send a request in a thread of the pool, within the trace of this one."""
        sent = _Sent(request, slot, Cancellation())
        context = contextvars.copy_context()
        context.run(CANCELLATION.set, sent.cancellation)
        try:
            future = self._requests.submit(
                context.run, self._send, request, slot, timeout, deadline
            )
        except RuntimeError:
            self._check_connected()
            raise
        return future, sent

    def _send(
        self, request: Request, slot: Slot, timeout: float, deadline: float | None
    ) -> Response:
        """Send a request in this thread, and release its slot."""
        begin = time.monotonic()
        ending = Verdict.NOTHING
        try:
            response: Response
            try:
                self._check_connected()
                left = time_left(deadline or begin + timeout, timeout)
                response = self._execute(request, left)
            except BertQAError as error:
                response = error
            ending = verdict(response, time.monotonic() - begin, timeout)
            return response
        finally:
            self.limit.release(slot, ending)

    def _execute(self, request: Request, timeout: float) -> ModelSpec | InferResult:
        if isinstance(request, FetchMetadata) and (known := request.known()) is not None:
            return known
        result = execute(self._transport, request, timeout)
        if isinstance(result, InferResult):
            return result
        assert isinstance(request, FetchMetadata)
        return request.learn(result)

    def _check_connected(self) -> None:
        if self._disconnected:
            raise ClientStateError("This client is closed.")


def _arrived(
    mailbox: SimpleQueue[Future[Response] | None], pause: float | None
) -> Iterator[Future[Response]]:
    """Yield the requests that are done, after waiting for one, or for a slot, for so long."""
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
