"""The asynchronous client, the twin of `bertqa.client`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

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
from bertqa.client._local import open_async_local_transport
from bertqa.client._options import AskOptions, Settings
from bertqa.client._split_poller import read_split_file, split_of
from bertqa.client._tracing import stage
from bertqa.errors import BertQAError
from bertqa.qa import Answer
from bertqa.transport import (
    AsyncTransport,
    TransportOptions,
    open_async_split_transport,
    open_async_transport,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class AsyncQAClient(BaseClient[AsyncTransport]):
    """Asks questions from one event loop, any number at a time. `BaseClient` says what it takes."""

    @classmethod
    def _open_local(cls, path: Path, version: int | None) -> AsyncTransport:
        return open_async_local_transport(path, version)

    def _open(self, url: str, options: TransportOptions) -> AsyncTransport:
        return open_async_transport(url, options)

    def _open_split(self, url: str, options: TransportOptions) -> AsyncTransport:
        return open_async_split_transport(url, options)

    def _start(self) -> None:
        self._following = asyncio.Lock()
        self._room = asyncio.Semaphore(_defaults.REQUESTS_IN_FLIGHT)
        self._shadows: set[asyncio.Task[None]] = set()

    async def answer(self, question: str, context: str, **options: Unpack[AskOptions]) -> Answer:
        """Return the best answer."""
        return (await self.answers(question, context, 1, **options))[0]

    async def answers(
        self,
        question: str,
        context: str,
        top_k: int = _defaults.TOP_K,
        **options: Unpack[AskOptions],
    ) -> list[Answer]:
        """Return the best answers, at most `top_k` and at least one, best first."""
        settings = self._settings_of(options)
        begun = await self._set_out(question, context, top_k, settings)
        asked = time.monotonic()
        deadline = asked + settings.timeout
        with stage("bertqa.answer"):
            outcome = await self._outcome(begun, settings.timeout, deadline)
        if isinstance(outcome, BertQAError):
            raise outcome
        self._send_shadow(begun[0], outcome[0], time.monotonic() - asked)
        return outcome

    def answer_many(
        self,
        pairs: Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]],
        *,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> AsyncIterator[Answer]:
        """Return the best answer to each pair of a question and a context, in their order.

        Reads ahead, `look_ahead` windows at a time, to send those of like length together. The
        first error ends it; `outcomes` goes on where a pair is bad by itself.
        """
        outcomes = self.outcomes(pairs, look_ahead=look_ahead, **options)
        return (or_raise(outcome) async for outcome in outcomes)

    def outcomes(
        self,
        pairs: Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]],
        *,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> AsyncIterator[Answer | BertQAError]:
        """Like `answer_many`, but gives the error in the window of a pair that is bad by itself.

        That is an InvalidQuestionError or an InvalidContextError; others are raised.
        """
        settings = self._settings_of(options)
        return self._outcomes(pairs, Batcher(settings.timeout, look_ahead), settings)

    async def _outcomes(
        self,
        pairs: Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]],
        batcher: Batcher,
        settings: Settings,
    ) -> AsyncIterator[Answer | BertQAError]:
        begun = (await self._set_out(*both(pair), 1, settings) async for pair in _each(pairs))
        async for question, outcome in self._stream(begun, batcher, timeout=settings.timeout):
            best = best_or_error(outcome)
            if isinstance(best, Answer):
                self._send_shadow(question, best)
            yield best

    async def close(self) -> None:
        """Release connections, after shadows on their way; then nothing works any more."""
        if self._closed or not self._is_in_its_process:
            return
        self._closed = True
        await asyncio.gather(*self._shadows)
        self._disconnected = True
        await self._transport.close()
        if self._split_transport is not None:
            await self._split_transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _set_out(
        self, question: str, context: str, top_k: int, settings: Settings
    ) -> tuple[Question, AnswerFlow]:
        await self._follow()
        return self._begin(question, context, top_k, settings)

    async def _follow(self) -> None:
        """Read the split anew, if it is time to."""
        poller = self._split_poller
        if poller is None or not poller.is_due:
            return
        async with self._following:
            if not poller.is_due:
                return
            asked = time.monotonic()
            try:
                poller.take(await self._read_split(), asked)
            except BertQAError as error:
                poller.keep(error, asked)

    async def _read_split(self) -> str:
        if self._split_transport is None:
            assert self._split_file is not None
            return read_split_file(self._split_file)
        timeout = _defaults.FOLLOW_TIMEOUT_SECONDS
        return split_of(await self._split_transport.metadata(version=None, timeout=timeout))

    async def _outcome(
        self, begun: tuple[Question, AnswerFlow], timeout: float, deadline: float | None = None
    ) -> Outcome:
        """Drive one question to its outcome."""
        stream = self._stream(_each([begun]), Batcher(timeout), timeout=timeout, deadline=deadline)
        (outcome,) = [outcome async for _, outcome in stream]
        return outcome

    async def _stream(
        self,
        begun: AsyncIterator[tuple[Question, AnswerFlow]],
        batcher: Batcher,
        *,
        timeout: float,
        deadline: float | None = None,
    ) -> AsyncIterator[tuple[Question, Outcome]]:
        """Drive questions to their outcomes, in order, with a few requests in flight."""
        in_flight: dict[asyncio.Task[Response], Request] = {}
        exhausted = False

        async def send(request: Request) -> Response:
            until = deadline or time.monotonic() + timeout
            try:
                self._check_connected()
                try:
                    async with asyncio.timeout(time_left(until, timeout)):
                        await self._room.acquire()
                except TimeoutError as error:
                    raise too_late(timeout) from error
                try:
                    with stage(f"bertqa.{request.name}", **request.attributes):
                        return await request.send_async(self._transport, time_left(until, timeout))
                finally:
                    self._room.release()
            except BertQAError as error:
                return error

        try:
            while True:
                if not exhausted and batcher.wants_more:
                    more = await anext(begun, None)
                    if more is None:
                        exhausted = True
                    elif len(more[0].context) > _defaults.LONG_CONTEXT:
                        # To tokenise it takes a while, in which the loop has other things to do.
                        await asyncio.to_thread(batcher.add, *more)
                    else:
                        batcher.add(*more)
                while (request := batcher.next_request(last=exhausted)) is not None:
                    in_flight[asyncio.create_task(send(request))] = request
                for question, outcome in batcher.ready():
                    yield question, outcome
                if exhausted and not in_flight and batcher.is_empty:
                    return
                if not in_flight:
                    continue
                idle = exhausted or not batcher.wants_more
                done, _ = await asyncio.wait(
                    in_flight,
                    timeout=None if idle else 0,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    batcher.receive(in_flight.pop(task), task.result())
        finally:
            for task in in_flight:
                task.cancel()

    def _send_shadow(
        self, question: Question, answer: Answer, seconds: float | None = None
    ) -> None:
        """Ask the shadow version in the background, unless too many of these wait already."""
        begun = self._shadow_of(question)
        if begun is None:
            self._record(question, answer, seconds)
            return
        if len(self._shadows) >= _defaults.SHADOWS_WAITING:
            logger.debug("a shadow is left out: %d wait already", _defaults.SHADOWS_WAITING)
            return

        async def ask() -> None:
            sent = time.monotonic()
            outcome = await self._outcome(begun, question.settings.timeout)
            took = time.monotonic() - sent
            self._report_shadow(question, answer, seconds, outcome, took)

        task = asyncio.create_task(ask())
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
