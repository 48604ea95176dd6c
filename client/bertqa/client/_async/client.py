"""The asynchronous client."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from bertqa import _defaults
from bertqa._checks import flag
from bertqa.client._async.split_follower import AsyncSplitFollower
from bertqa.client._base_client import BaseClient, raise_unless_own
from bertqa.client._batcher import Outcome
from bertqa.client._local import open_async_local_transport
from bertqa.client._options import (
    AskOptions,
    Settings,
    check_look_ahead,
    check_pair,
    check_pairs,
    check_top_k,
)
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._scheduler import Scheduler
from bertqa.client._task_driver import ITERABLES, AsyncPairs, TaskDriver, each
from bertqa.client._tracing import Scope
from bertqa.errors import BertQAError
from bertqa.qa import Answer
from bertqa.transport import (
    AsyncTransport,
    TransportOptions,
    open_async_split_transport,
    open_async_transport,
)

logger = logging.getLogger(__name__)


class AsyncQAClient(BaseClient[AsyncTransport]):
    """Answers questions from one event loop, any number at a time."""

    _split_follower: AsyncSplitFollower | None = None

    async def answer(self, question: str, context: str, **options: Unpack[AskOptions]) -> Answer:
        """Return the best answer to a question.

        Args:
            question: The question.
            context: The text that may hold the answer.
            **options: See `AskOptions`.

        Returns:
            The best answer; its text is empty where the context holds none.

        Raises:
            BertQAError: The question, an option, or the server is at fault; see `bertqa.errors`.
        """
        answers = await self._answers(question, context, 1, self._settings_of(options))
        return answers[0]

    async def answers(
        self,
        question: str,
        context: str,
        top_k: int | None = None,
        **options: Unpack[AskOptions],
    ) -> list[Answer]:
        """Return the best answers to a question.

        Args:
            question: The question.
            context: The text that may hold the answers.
            top_k: How many answers to return at most; 5 where neither this nor `with_options` says
                it.
            **options: See `AskOptions`.

        Returns:
            At least one answer, best first.

        Raises:
            BertQAError: The question, an option, or the server is at fault; see `bertqa.errors`.
        """
        settings = self._settings_of(options)
        most = self._top_k if top_k is None else check_top_k("top_k", top_k)
        return await self._answers(question, context, most, settings)

    async def _answers(
        self, question: str, context: str, most: int, settings: Settings
    ) -> list[Answer]:
        begin = time.monotonic()
        deadline = begin + settings.timeout
        with self._scope("bertqa.answer") as scope, scope.step():
            started = await self._start_question(question, context, most, settings, deadline)
            outcome = await self._outcome(started, settings.timeout, deadline)
            if isinstance(outcome, BertQAError):
                raise outcome
            scope.set(version=outcome[0].model_version, answers=len(outcome))
        self._start_shadow(scope, started[0], outcome[0], time.monotonic() - begin)
        return outcome

    @overload
    def answer_many(
        self,
        pairs: AsyncPairs,
        *,
        return_errors: Literal[False] = False,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> AsyncIterator[Answer]: ...

    @overload
    def answer_many(
        self,
        pairs: AsyncPairs,
        *,
        return_errors: bool,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> AsyncIterator[Answer | BertQAError]: ...

    def answer_many(
        self,
        pairs: AsyncPairs,
        *,
        return_errors: bool = False,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> AsyncIterator[Answer | BertQAError]:
        """Return the best answer to each of many questions.

        Args:
            pairs: Questions with their contexts, any number of them. They are read ahead, so that
                windows of like length go out together.
            return_errors: Whether an InvalidQuestionError, InvalidContextError or TextTooLongError
                takes the place of the answer to its pair; otherwise the first error is raised, and
                ends the stream. Other errors, which are not of one pair alone, are always raised.
            look_ahead: How many windows to read ahead; 1 for a source that waits for each answer:
                no pair is read before the answer to the one before it is out.
            **options: See `AskOptions`; `timeout` is for each request.

        Returns:
            The answers, in the order of the pairs. Closing it cancels what is in flight. So does
            what interrupts the wait for the next one: `asyncio.wait_for(anext(answers), 5)` ends
            the stream where it times out; pass `timeout` in its place.

        Raises:
            InvalidOptionError: An option is not valid. This is raised before a pair is read.
        """
        settings = self._settings_of(options)
        return self._many(pairs, settings, return_errors=return_errors, look_ahead=look_ahead)

    def answers_many(
        self,
        pairs: AsyncPairs,
        top_k: int | None = None,
        *,
        return_errors: bool = False,
        look_ahead: int = _defaults.LOOK_AHEAD,
        **options: Unpack[AskOptions],
    ) -> AsyncIterator[list[Answer] | BertQAError]:
        """Return the best answers to each of many questions.

        Args:
            pairs: Questions with their contexts; see `answer_many`.
            top_k: How many answers to return to each question at most; see `answers`.
            return_errors: See `answer_many`.
            look_ahead: See `answer_many`.
            **options: See `AskOptions`; `timeout` is for each request.

        Returns:
            At least one answer to each question, best first, in the order of the pairs. Closing it
            cancels what is in flight.

        Raises:
            InvalidOptionError: An option is not valid. This is raised before a pair is read.
        """
        settings = self._settings_of(options)
        most = self._top_k if top_k is None else check_top_k("top_k", top_k)
        return self._many(
            pairs, settings, return_errors=return_errors, look_ahead=look_ahead, top_k=most
        )

    async def split(self) -> Mapping[int, float] | None:
        """Return the share of the questions that each version gets, in percent.

        Returns:
            The shares by version, None where the client's own version, or the server's default one,
            answers all.

        Raises:
            ClientStateError: This client is closed.
        """
        self._life.check()
        if self._split_follower is not None:
            await self._split_follower.before_choice()
        return None if self._traffic is None else self._traffic.shares

    async def close(self) -> None:
        """Wait for shadows, then release connections and threads; no question can follow."""
        if self._life.is_closed or self._life.is_elsewhere:
            return
        self._life.is_closed = True
        if self._driver.is_elsewhere and not self._driver.has_outlived_loop:
            return
        # What fails does not keep the rest from being closed.
        async with AsyncExitStack() as ending:
            if self._split_follower is not None:
                ending.push_async_callback(self._split_follower.close)
            ending.push_async_callback(self._driver.close)
            ending.push_async_callback(self._transport.close)
            if not self._driver.has_outlived_loop:
                ending.callback(self._driver.disconnect)
                await self._driver.finish()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @classmethod
    def _open_local(cls, path: Path, version: int | None) -> AsyncTransport:
        return open_async_local_transport(path, version)

    def _connect(self, url: str | None, options: TransportOptions, *, follows: bool) -> None:
        if url is not None:
            self._transport = open_async_transport(url, options)
        self._driver = TaskDriver(self._transport)
        if url is not None:
            # A copy of the client that shares the transport may outlive the client.
            self._driver.close_at_exit(self._life, self._transport)
        source: AsyncTransport | Path | None = self._split_file
        if url is not None and follows:
            source = open_async_split_transport(url, options)
            self._driver.close_at_exit(self._life, source)
        if self._split_poller is not None and source is not None:
            self._split_follower = AsyncSplitFollower(self._split_poller, source, self._driver)

    async def _start_question(
        self,
        question: str,
        context: str,
        top_k: int,
        settings: Settings,
        deadline: float | None = None,
    ) -> tuple[Question, AnswerFlow]:
        if self._split_follower is not None:
            await self._split_follower.before_choice()
        return self._flow_of(question, context, top_k, settings, deadline)

    async def _outcome(
        self, started: tuple[Question, AnswerFlow], timeout: float, deadline: float
    ) -> Outcome:
        """Drive one question to its outcome."""
        return await self._driver.answer(
            started,
            partial(self._scheduler, timeout, deadline),
            timeout=timeout,
            deadline=deadline,
        )

    def _many(
        self,
        pairs: AsyncPairs,
        settings: Settings,
        *,
        return_errors: bool,
        look_ahead: int,
        top_k: int | None = None,
    ) -> AsyncIterator[Any]:
        """Check what is left to check now, and return what `_answer_pairs` yields."""
        check_pairs(pairs, ITERABLES)
        return_errors = flag("return_errors", return_errors)
        look_ahead = check_look_ahead("look_ahead", look_ahead)
        scheduler = self._scheduler(settings.timeout, look_ahead=look_ahead)
        return self._answer_pairs(
            pairs, scheduler, settings, return_errors=return_errors, top_k=top_k
        )

    async def _answer_pairs(
        self,
        pairs: AsyncPairs,
        scheduler: Scheduler,
        settings: Settings,
        *,
        return_errors: bool,
        top_k: int | None,
    ) -> AsyncIterator[Any]:
        """Yield the best answer to each question, or, with `top_k`, a list of answers."""
        spans: deque[Scope] = deque()

        async def start(pair: tuple[str, str]) -> tuple[Question, AnswerFlow]:
            started = await self._start_question(*check_pair(pair), top_k or 1, settings)
            spans.append(self._scope("bertqa.answer"))
            return started

        started = (await start(pair) async for pair in each(pairs))
        stream = self._driver.stream(started, scheduler, timeout=settings.timeout)
        with self._scope("bertqa.answer_many") as scope:
            try:
                async with aclosing(stream) as outcomes:
                    while True:
                        with scope.step():
                            found = await anext(outcomes, None)
                        if found is None:
                            return
                        question, outcome = found
                        if isinstance(outcome, BertQAError):
                            spans.popleft().end(outcome)
                            if not return_errors:
                                raise outcome
                            yield raise_unless_own(outcome)
                        else:
                            span = spans.popleft()
                            span.set(version=outcome[0].model_version)
                            span.end(None)
                            self._start_shadow(span, question, outcome[0])
                            yield outcome[0] if top_k is None else outcome
            finally:
                for span in spans:
                    span.end(None)

    def _start_shadow(
        self, above: Scope, question: Question, answer: Answer, seconds: float | None = None
    ) -> None:
        """Send a copy to the shadow version in the background, unless too many wait already."""
        started = self._shadow_of(question)
        if started is None:
            self._record(question, answer, seconds)
        elif not self._driver.start(
            partial(self._answer_shadow, above, question, started, answer, seconds)
        ):
            logger.debug("a shadow is left out: %d wait already", _defaults.SHADOWS_WAITING)

    async def _answer_shadow(
        self,
        above: Scope,
        question: Question,
        started: tuple[Question, AnswerFlow],
        answer: Answer,
        seconds: float | None,
    ) -> None:
        try:
            begin = time.monotonic()
            timeout = question.settings.timeout
            with self._scope("bertqa.shadow", above) as scope, scope.step():
                outcome = await self._outcome(started, timeout, begin + timeout)
                if isinstance(outcome, BertQAError):
                    scope.fail(outcome)
                else:
                    scope.set(version=outcome[0].model_version)
            shadow_seconds = time.monotonic() - begin
            self._report_shadow(question, answer, seconds, outcome, shadow_seconds)
        except Exception:
            logger.exception("The shadow of a question failed unexpectedly")
