"""From a request to answers: the version, the time that is left, and the places of answers."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bertqa import Answer, AsyncQAClient
from bertqa.client import AskOptions, check_options
from bertqa.errors import BertQAError, InvalidOptionError, ModelNotFoundError, ModelNotReadyError
from bertqa_serve.http_api.backend import Backend
from bertqa_serve.http_api.gate import RequestFacts
from bertqa_serve.http_api.metrics import Metrics
from bertqa_serve.http_api.problems import (
    TIMEOUT_HEADER,
    TOO_LATE,
    Problem,
    in_words,
    missing,
    problem_of,
)
from bertqa_serve.http_api.schema import Answers, Failure, FoundAnswer

VERSION_HEADER = "x-bert-qa-version"
KEY_HEADER = "x-bert-qa-key"
MODEL_VERSION = "x-model-version"

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)?")
_SECONDS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}

# After so many bad pairs in a row, which nothing waits for, other requests have their turn.
_TURN = 256

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the headers of a request ask for.

    Attributes:
        version: The version that answers.
        key: A key that always goes to the same version.
        timeout: How long the answer may take.
    """

    version: str | None
    key: str | None
    timeout: str | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Wishes:
        """Return what headers ask for.

        Args:
            headers: The headers of a request.
        """
        version, key, timeout = map(headers.get, (VERSION_HEADER, KEY_HEADER, TIMEOUT_HEADER))
        if key is not None:
            # Headers are read as Latin-1; the same key in a body is UTF-8.
            with contextlib.suppress(UnicodeDecodeError):
                key = key.encode("latin-1").decode()
        return cls(version, key, timeout)

    def options(self) -> AskOptions:
        """Return the options of the client that are meant.

        Raises:
            Problem: One is not valid.
        """
        found: AskOptions = {}
        if self.version is not None:
            try:
                found["version"] = check_options({"version": self.version})["version"]
            except InvalidOptionError as error:
                raise Problem(422, f"The header {VERSION_HEADER}: {in_words(error)}") from error
        if self.key is not None:
            found["key"] = self.key
        return found

    def seconds(self) -> float | None:
        """Return how long the answer may take, None where the request does not say it.

        Raises:
            Problem: The header cannot be read.
        """
        if self.timeout is None:
            return None
        match = _DURATION.fullmatch(self.timeout.strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if seconds <= 0:
            raise Problem(
                422,
                f"The header {TIMEOUT_HEADER} has to be a duration above 0, such as 0.5, 500ms or "
                "30s.",
            )
        return seconds

    def deadline(self, began: float, most: float | None) -> float | None:
        """Return until when it may take, on the clock of `time.monotonic`; None sets no limit.

        Args:
            began: When it began.
            most: Seconds that any request may take at most.

        Raises:
            Problem: The header cannot be read.
        """
        limits = [each for each in (self.seconds(), most) if each is not None]
        return began + min(limits) if limits else None


@dataclass(frozen=True, slots=True)
class Asking:
    """One request on its way to its answers.

    Attributes:
        backend: What answers.
        metrics: What counts the answers.
        facts: What is known of the request.
        wishes: What its headers ask for.
        timeout: Seconds that an answer may take at most; None sets no limit.
        forget: Has the next request to the model find out anew whether it is served; None for the
            default one.
    """

    backend: Backend
    metrics: Metrics
    facts: RequestFacts
    wishes: Wishes
    timeout: float | None
    forget: Callable[[], None] | None = None

    async def one(self, pair: Pair, top_k: int | None, options: AskOptions) -> list[Answer]:
        """Return the answers to one question.

        Args:
            pair: The question and its context.
            top_k: How many answers to return at most; None is 1.
            options: The options of the body, which take precedence over the headers'.

        Raises:
            Problem: It cannot be answered.
        """
        client, options, _ = self._prepared(options)
        self.facts.questions += 1
        try:
            answers = await client.answers(*pair, top_k or 1, **options)
        except BertQAError as error:
            raise self._problem_of(error) from error
        self._note(answers[0])
        return answers

    async def many(
        self, items: Iterable[Pair | str], top_k: int | None, options: AskOptions
    ) -> AsyncIterator[tuple[Pair | str, list[Answer] | str]]:
        """Yield each of many questions with its answers, or with what is wrong with it.

        Args:
            items: Questions with their contexts, or what is wrong with one.
            top_k: How many answers to return at most; None is 1.
            options: The options of the body, which take precedence over the headers'.

        Yields:
            An item, and its answers or the error; in order.

        Raises:
            Problem: The questions cannot be answered.
        """
        client, options, wished = self._prepared(options)
        waiting: deque[Pair | str] = deque()

        async def pairs() -> AsyncIterator[Pair]:
            for number, item in enumerate(items):
                waiting.append(item)
                if not isinstance(item, str):
                    yield item
                elif not number % _TURN:
                    await asyncio.sleep(0)

        try:
            stream = client.answers_many(pairs(), top_k or 1, return_errors=True, **options)
            async with contextlib.aclosing(stream) as outcomes:  # type: ignore[type-var]
                while True:
                    async with asyncio.timeout(left(wished)):
                        outcome = await anext(outcomes, None)
                    while waiting and isinstance(waiting[0], str):
                        yield waiting[0], str(waiting.popleft())
                        if not len(waiting) % _TURN:
                            await asyncio.sleep(0)
                    if outcome is None:
                        return
                    item = waiting.popleft()
                    self.facts.questions += 1
                    if isinstance(outcome, BertQAError):
                        yield item, in_words(outcome)
                    else:
                        self._note(outcome[0])
                        yield item, outcome
        except TimeoutError:
            raise Problem(TOO_LATE, "The answers were not there in time.") from None
        except BertQAError as error:
            raise self._problem_of(error) from error

    def _prepared(self, options: AskOptions) -> tuple[AsyncQAClient, AskOptions, float | None]:
        """Return the client, its options, and the deadline where the request asks for one."""
        wished = self.wishes.seconds()
        deadline = self.wishes.deadline(self.facts.began, self.timeout)
        merged: AskOptions = {**self.wishes.options(), **options}
        try:
            client, version = self.backend.client(merged.get("version"), merged.get("key"))
        except BertQAError as error:
            raise self._problem_of(error) from error
        merged["version"] = version
        merged["timeout"] = left(deadline)
        return client, merged, None if wished is None else deadline

    def _problem_of(self, error: BertQAError) -> Problem:
        """Return the response for an error. A default model that is away may come back any time."""
        if self.forget is not None and isinstance(error, ModelNotFoundError | ModelNotReadyError):
            self.forget()
            if isinstance(error, ModelNotFoundError):
                return missing(self.backend.model)
        return problem_of(error)

    def _note(self, answer: Answer) -> None:
        self.facts.version = answer.model_version
        self.metrics.answered(self.backend.model, answer.model_version)


def left(deadline: float | None) -> float | None:
    """Return how many seconds are left, None where there is no limit.

    Args:
        deadline: Until when, on the clock of `time.monotonic`.

    Raises:
        Problem: None are.
    """
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise Problem(TOO_LATE, "The time for the answer was over before the question was asked.")
    return seconds


def described(answers: Sequence[Answer], context: str, unit: str) -> list[FoundAnswer]:
    """Return answers as they are sent.

    Args:
        answers: The answers.
        context: The text that they are of.
        unit: What their places count: "codepoint" or "utf16".
    """
    counts = unit == "utf16" and not context.isascii()
    return [
        FoundAnswer.model_construct(
            text=each.text,
            start=_utf16(context, each.start) if counts else each.start,
            end=_utf16(context, each.end) if counts else each.end,
            score=each.score,
            model_version=each.model_version,
        )
        for each in answers
    ]


def result(item: Pair | str, outcome: Sequence[Answer] | str, unit: str) -> Answers | Failure:
    """Return the result of one of many questions as it is sent.

    Args:
        item: The question with its context, or what is wrong with it.
        outcome: The answers, or what is wrong.
        unit: What places of answers count: "codepoint" or "utf16".
    """
    if isinstance(outcome, str):
        return Failure.model_construct(error=outcome)
    return Answers.model_construct(answers=described(outcome, item[1], unit))


def _utf16(context: str, place: int) -> int:
    return len(context[:place].encode("utf-16-le")) // 2
