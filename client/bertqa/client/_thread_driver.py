"""Executes effects in threads: the twin of `bertqa.client._task_driver`."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from bertqa import _defaults
from bertqa.client._batcher import Outcome
from bertqa.client._deadline import time_left, too_late
from bertqa.client._effects import Effect, FetchMetadata, RunInference, Sleep
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._scheduler import Response, Scheduler
from bertqa.client._sync.effects import execute
from bertqa.errors import BertQAError, ClientStateError
from bertqa.transport import Transport

logger = logging.getLogger(__name__)

_BACKGROUND_THREADS = 2

T = TypeVar("T")
Pairs = Iterable[tuple[str, str]]


class ThreadDriver:
    """Drives flows over a transport, with a bounded number of requests in flight.

    A pool starts its threads when they are needed: a single question needs none.

    Args:
        transport: The transport to call; the driver does not close it.

    Attributes:
        polling: Held while the split of the traffic is read.
    """

    def __init__(self, transport: Transport) -> None:
        self.polling = threading.Lock()
        self._transport = transport
        self._slots = threading.BoundedSemaphore(_defaults.REQUESTS_IN_FLIGHT)
        self._requests = ThreadPoolExecutor(_defaults.REQUESTS_IN_FLIGHT, "bertqa-request")
        self._background = ThreadPoolExecutor(_BACKGROUND_THREADS, "bertqa-shadow")
        self._background_slots = threading.BoundedSemaphore(_defaults.SHADOWS_WAITING)
        self._disconnected = False

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
            timeout: Seconds that each request may take.
            deadline: A time of `time.monotonic()` for all requests together, instead.

        Yields:
            Each question with its answers or its error, in order. Closing the generator cancels
            what is in flight.
        """
        in_flight: dict[Future[Response], Effect] = {}
        sleeping: dict[Sleep, float] = {}
        exhausted = False
        try:
            while True:
                if not exhausted and scheduler.wants_more:
                    more = next(started, None)
                    if more is None:
                        exhausted = True
                    else:
                        scheduler.add(*more)
                while (effect := scheduler.next_effect(last=exhausted)) is not None:
                    if isinstance(effect, Sleep):
                        sleeping[effect] = time.monotonic() + effect.seconds
                    elif exhausted and not (in_flight or sleeping or scheduler.has_effects):
                        # Nothing else to do meanwhile: another thread is not needed.
                        scheduler.receive(effect, self._execute(effect, timeout, deadline))
                    else:
                        in_flight[self._submit(effect, timeout, deadline)] = effect
                yield from scheduler.ready()
                if exhausted and not (in_flight or sleeping) and scheduler.is_empty:
                    return
                idle = exhausted or not scheduler.wants_more
                for future in _wait(in_flight, sleeping, idle=idle):
                    scheduler.receive(in_flight.pop(future), future.result())
                now = time.monotonic()
                for sleep in [each for each, end in sleeping.items() if end <= now]:
                    del sleeping[sleep]
                    scheduler.receive(sleep, None)
        finally:
            for future in in_flight:
                future.cancel()

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

        self._background.submit(run)
        return True

    def finish(self) -> None:
        """Wait for the work in the background; no more can be started."""
        self._background.shutdown()

    def disconnect(self) -> None:
        """Refuse further requests; those in flight end when the transport is closed."""
        self._disconnected = True

    def close(self) -> None:
        """Wait for the threads of requests to end."""
        self._requests.shutdown()

    def close_at_exit(self, owner: object, transport: Transport) -> None:
        """Close a transport once its owner is forgotten, or open at exit.

        Args:
            owner: The client.
            transport: Its transport.
        """
        weakref.finalize(owner, transport.close)

    def _submit(self, effect: Effect, timeout: float, deadline: float | None) -> Future[Response]:
        """Execute in a thread of the pool, within the trace of this one."""
        context = contextvars.copy_context()
        try:
            return self._requests.submit(context.run, self._execute, effect, timeout, deadline)
        except RuntimeError:
            self._check_connected()
            raise

    def _execute(self, effect: Effect, timeout: float, deadline: float | None) -> Response:
        assert isinstance(effect, FetchMetadata | RunInference)
        until = deadline or time.monotonic() + timeout
        try:
            self._check_connected()
            if not self._slots.acquire(timeout=time_left(until, timeout)):
                raise too_late(timeout)
            try:
                return execute(self._transport, effect, time_left(until, timeout))
            finally:
                self._slots.release()
        except BertQAError as error:
            return error

    def _check_connected(self) -> None:
        if self._disconnected:
            raise ClientStateError("This client is closed.")


def _wait(
    in_flight: dict[Future[Response], Effect], sleeping: dict[Sleep, float], *, idle: bool
) -> set[Future[Response]]:
    """Return the requests that are done; where there is nothing else to do, wait for one."""
    pause: float | None = 0.0
    if idle:
        end = min(sleeping.values(), default=None)
        pause = None if end is None else max(end - time.monotonic(), 0.0)
    if in_flight:
        return wait(in_flight, pause, return_when=FIRST_COMPLETED).done
    if pause:
        time.sleep(pause)
    return set()


def each(items: Iterable[T]) -> Iterator[T]:
    """Return an iterator over the items."""
    return iter(items)
