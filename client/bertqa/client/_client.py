"""The synchronous client."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from bertqa import _defaults
from bertqa.client._answer_flow import AnswerFlow, Question
from bertqa.client._base_client import (
    BaseClient,
    best_or_error,
    both,
    or_raise,
    time_left,
    too_late,
)
from bertqa.client._batcher import Batcher, Outcome, Request, Response
from bertqa.client._local import open_local_transport
from bertqa.client._options import AskOptions, Settings
from bertqa.client._split_poller import read_split_file, split_of
from bertqa.client._tracing import stage
from bertqa.errors import BertQAError
from bertqa.qa import Answer
from bertqa.transport import Transport, TransportOptions, open_split_transport, open_transport

logger = logging.getLogger(__name__)

_SHADOW_THREADS = 2


class QAClient(BaseClient[Transport]):
    """Asks questions; safe to use from several threads. `BaseClient` says what it takes."""

    @classmethod
    def _open_local(cls, path: Path, version: int | None) -> Transport:
        return open_local_transport(path, version)

    def _open(self, url: str, options: TransportOptions) -> Transport:
        return self._own(open_transport(url, options))

    def _open_split(self, url: str, options: TransportOptions) -> Transport:
        return self._own(open_split_transport(url, options))

    def _own(self, transport: Transport) -> Transport:
        # A client that is forgotten, or open at exit, leaves no connection behind.
        weakref.finalize(self, transport.close)
        return transport

    def _start(self) -> None:
        # A pool starts its threads when they are needed, and not before.
        self._requests = ThreadPoolExecutor(_defaults.REQUESTS_IN_FLIGHT, "bertqa-request")
        self._room = threading.BoundedSemaphore(_defaults.REQUESTS_IN_FLIGHT)
        self._shadows = ThreadPoolExecutor(_SHADOW_THREADS, "bertqa-shadow")
        self._following = threading.Lock()
        self._shadows_waiting = threading.BoundedSemaphore(_defaults.SHADOWS_WAITING)

    def answer(self, question: str, context: str, **options: Unpack[AskOptions]) -> Answer:
        """Return the best answer."""
        return self.answers(question, context, 1, **options)[0]

    def answers(
        self,
        question: str,
        context: str,
        top_k: int = _defaults.TOP_K,
        **options: Unpack[AskOptions],
    ) -> list[Answer]:
        """Return the best answers, at most `top_k` and at least one, best first."""
        settings = self._settings_of(options)
        begun = self._begin(question, context, top_k, settings)
        asked = time.monotonic()
        deadline = asked + settings.timeout
        with stage("bertqa.answer"):
            outcome = self._outcome(begun, settings.timeout, deadline)
        if isinstance(outcome, BertQAError):
            raise outcome
        self._send_shadow(begun[0], outcome[0], time.monotonic() - asked)
        return outcome

    def answer_many(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> Iterator[Answer]:
        """Return the best answer to each pair of a question and a context, in their order.

        Reads ahead, `look_ahead` windows at a time, to send those of like length together. The
        first error ends it; `outcomes` goes on where a pair is bad by itself.
        """
        return map(or_raise, self.outcomes(pairs, look_ahead=look_ahead, **options))

    def outcomes(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> Iterator[Answer | BertQAError]:
        """Like `answer_many`, but gives the error in the window of a pair that is bad by itself.

        That is an InvalidQuestionError or an InvalidContextError; others are raised.
        """
        settings = self._settings_of(options)
        return self._outcomes(pairs, Batcher(settings.timeout, look_ahead), settings)

    def _outcomes(
        self, pairs: Iterable[tuple[str, str]], batcher: Batcher, settings: Settings
    ) -> Iterator[Answer | BertQAError]:
        begun = (self._begin(*both(pair), 1, settings) for pair in pairs)
        for question, outcome in self._stream(begun, batcher, timeout=settings.timeout):
            best = best_or_error(outcome)
            if isinstance(best, Answer):
                self._send_shadow(question, best)
            yield best

    def close(self) -> None:
        """Release connections and threads, after shadows on their way; then nothing works."""
        if self._closed or not self._is_in_its_process:
            return
        self._closed = True
        self._shadows.shutdown()
        self._disconnected = True
        self._transport.close()
        self._requests.shutdown()
        if self._split_transport is not None:
            self._split_transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(
        self, question: str, context: str, top_k: int, settings: Settings
    ) -> tuple[Question, AnswerFlow]:
        self._follow()
        return super()._begin(question, context, top_k, settings)

    def _follow(self) -> None:
        """Read the split anew, if it is time to."""
        poller = self._split_poller
        if poller is None or not poller.is_due:
            return
        with self._following:
            if not poller.is_due:
                return
            asked = time.monotonic()
            try:
                poller.take(self._read_split(), asked)
            except BertQAError as error:
                poller.keep(error, asked)

    def _read_split(self) -> str:
        if self._split_transport is None:
            assert self._split_file is not None
            return read_split_file(self._split_file)
        timeout = _defaults.FOLLOW_TIMEOUT_SECONDS
        return split_of(self._split_transport.metadata(version=None, timeout=timeout))

    def _outcome(
        self, begun: tuple[Question, AnswerFlow], timeout: float, deadline: float | None = None
    ) -> Outcome:
        """Drive one question to its outcome."""
        ((_, outcome),) = self._stream(
            iter([begun]), Batcher(timeout), timeout=timeout, deadline=deadline
        )
        return outcome

    def _stream(
        self,
        begun: Iterator[tuple[Question, AnswerFlow]],
        batcher: Batcher,
        *,
        timeout: float,
        deadline: float | None = None,
    ) -> Iterator[tuple[Question, Outcome]]:
        """Drive questions to their outcomes, in order, with a few requests in flight."""
        in_flight: dict[Future[Response], Request] = {}
        exhausted = False

        def send(request: Request) -> Response:
            until = deadline or time.monotonic() + timeout
            try:
                self._check_connected()
                if not self._room.acquire(timeout=time_left(until, timeout)):
                    raise too_late(timeout)
                try:
                    with stage(f"bertqa.{request.name}", **request.attributes):
                        return request.send(self._transport, time_left(until, timeout))
                finally:
                    self._room.release()
            except BertQAError as error:
                return error

        try:
            while True:
                if not exhausted and batcher.wants_more:
                    more = next(begun, None)
                    if more is None:
                        exhausted = True
                    else:
                        batcher.add(*more)
                while (request := batcher.next_request(last=exhausted)) is not None:
                    if exhausted and not in_flight and not batcher.has_requests:
                        # Nothing else to do meanwhile: no need of another thread.
                        batcher.receive(request, send(request))
                    else:
                        in_flight[self._submit(send, request)] = request
                yield from batcher.ready()
                if exhausted and not in_flight and batcher.is_empty:
                    return
                idle = exhausted or not batcher.wants_more
                done, _ = wait(in_flight, None if idle else 0, return_when=FIRST_COMPLETED)
                for future in done:
                    batcher.receive(in_flight.pop(future), future.result())
        finally:
            for future in in_flight:
                future.cancel()

    def _submit(self, send: Callable[[Request], Response], request: Request) -> Future[Response]:
        """Send in a thread, which works within the trace of this one."""
        try:
            return self._requests.submit(contextvars.copy_context().run, send, request)
        except RuntimeError:
            self._check_connected()
            raise

    def _send_shadow(
        self, question: Question, answer: Answer, seconds: float | None = None
    ) -> None:
        """Ask the shadow version in the background, unless too many of these wait already."""
        begun = self._shadow_of(question)
        if begun is None:
            self._record(question, answer, seconds)
            return
        if not self._shadows_waiting.acquire(blocking=False):
            logger.debug("a shadow is left out: %d wait already", _defaults.SHADOWS_WAITING)
            return

        def ask() -> None:
            try:
                sent = time.monotonic()
                outcome = self._outcome(begun, question.settings.timeout)
                took = time.monotonic() - sent
                self._report_shadow(question, answer, seconds, outcome, took)
            finally:
                self._shadows_waiting.release()

        self._shadows.submit(ask)
