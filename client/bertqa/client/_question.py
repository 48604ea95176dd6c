"""How one question is answered, without any input or output.

An `AnswerFlow` is a generator: it yields effects, is sent their results, and returns the answers.
Whether a driver executes the effects in threads or in tasks, for one flow or for many at a time,
makes no difference to it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from bertqa.client._effects import Effect, FetchMetadata, RunInference, Sleep, WindowResult
from bertqa.client._model_registry import ModelRegistry, ModelSpec
from bertqa.client._options import Settings
from bertqa.client._tracing import stage
from bertqa.errors import (
    BertQAError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    ModelNotFoundError,
    ModelNotReadyError,
    ProtocolError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.qa import Answer, Span, Window, check_text, whole_clusters
from bertqa.transport import pauses

logger = logging.getLogger(__name__)

# What another attempt may not meet.
_MAY_PASS = (
    ServerUnreachableError,
    ModelNotFoundError,
    ModelNotReadyError,
    VersionNotFoundError,
)


AnswerFlow = Generator[Effect, Any, list[Answer]]
"""Yields effects, is sent their results or has their errors thrown in, and returns the answers."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a context.

    Attributes:
        question: The question.
        context: The text that may hold the answer.
        top_k: How many answers to return at most.
        settings: Lengths, decoder, and timeout.
        deadline: A time of `time.monotonic()` for the whole answer; None, as in a stream, where a
            server that is away is waited for as long as the timeout, from the first failure on.

    Raises:
        InvalidOptionError: `top_k` is below 1.
    """

    question: str
    context: str
    top_k: int
    settings: Settings
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InvalidOptionError(f"top_k is {self.top_k}, but it has to be 1 or more.")

    def flow(self, registry: ModelRegistry, version: int | None, *, fall_back: bool) -> AnswerFlow:
        """Return the flow that answers the question.

        Args:
            registry: What is known of the server's versions.
            version: The version to run; None is the server's default.
            fall_back: Whether the default version answers where the chosen one is gone.

        Returns:
            A flow that has not begun. It raises what its effects raise, and InvalidQuestionError,
            InvalidContextError, InvalidOptionError, NotAQAModelError and ProtocolError of its own.
        """
        check_text(self.question, "question", InvalidQuestionError)
        check_text(self.context, "context", InvalidContextError)
        try:
            return (yield from self._answer_patiently(registry, version))
        except VersionNotFoundError as error:
            if version is None or not fall_back:
                raise
            logger.warning("falling back to the default version: %s", error)
            return (yield from self._answer_patiently(registry, None))

    def _answer_patiently(self, registry: ModelRegistry, version: int | None) -> AnswerFlow:
        """Repeat where a version was there and is gone: a restarted server loads its models."""
        waits: Iterator[float] | None = None
        while True:
            try:
                return (yield from self._answer_once(registry, version))
            except _MAY_PASS as error:
                if isinstance(error, ServerUnreachableError):
                    registry.forget()
                if waits is None:
                    deadline = self.deadline or time.monotonic() + self.settings.timeout
                    waits = pauses(deadline, patient=True)
                if not _may_pass(error, registry, version):
                    raise
                pause = next(waits, None)
                if pause is None and isinstance(error, VersionNotFoundError):
                    raise ProtocolError(
                        "The server's default version kept changing under one question. Pass "
                        "version=... to stay with one.",
                        detail=str(error),
                    ) from error
                if pause is None:
                    raise
            yield Sleep(pause)

    def _answer_once(self, registry: ModelRegistry, version: int | None) -> AnswerFlow:
        spec = yield from _spec_of(registry, version)
        windows = self._windows(spec)
        results: list[WindowResult] = yield RunInference(windows, version)
        answered = _prevailing(results)
        if version is None:
            current = yield from _spec_of(registry, answered)
            if current != spec:
                logger.info("the default version is %d now: starting again", answered)
                registry.make_default(current)
                windows = self._windows(current)
                results = yield RunInference(windows, answered)
            others = [at for at, each in enumerate(results) if each.model_version != answered]
            if others:
                logger.info("several versions answer: all windows go to version %d", answered)
                again: list[WindowResult] = yield RunInference(
                    [windows[at] for at in others], answered
                )
                for at, result in zip(others, again, strict=True):
                    results[at] = result
        found = {result.model_version for result in results}
        if found != {answered if version is None else version}:
            raise ProtocolError(
                f"Version {answered if version is None else version} was requested, but version "
                f"{max(found)} answered."
            )
        with stage("bertqa.decode"):
            spans = self.settings.decoder.decode(
                self.context, windows, [result.logits for result in results], self.top_k
            )
        return [self._answer_at(span, answered) for span in spans]

    def _windows(self, spec: ModelSpec) -> list[Window]:
        with stage("bertqa.tokenize"):
            return spec.windows(
                self.question,
                self.context,
                max_seq_len=self.settings.max_seq_len,
                doc_stride=self.settings.doc_stride,
                max_question_len=self.settings.max_question_len,
            )

    def _answer_at(self, span: Span, version: int) -> Answer:
        # A decoder of the caller's own may cut a character in two.
        start, end = whole_clusters(self.context, span.start, span.end)
        return Answer(self.context[start:end], start, end, span.score, version)


def _may_pass(error: BertQAError, registry: ModelRegistry, version: int | None) -> bool:
    if isinstance(error, VersionNotFoundError):
        # It has answered, and was retired or is on another server: the next answer may be of
        # another version.
        return version is None
    # A server that starts again knows neither the model nor any version for a moment.
    is_version = isinstance(error, ModelNotReadyError)
    return registry.has_met(version) if is_version else registry.has_met_any


def _spec_of(
    registry: ModelRegistry, version: int | None
) -> Generator[FetchMetadata, ModelSpec, ModelSpec]:
    known = registry.get(version)
    if known is not None:
        return known
    return (yield FetchMetadata(version, registry))


def _prevailing(results: list[WindowResult]) -> int:
    """Return the version that answered most of the windows, of two as good the newer one."""
    counts = Counter(result.model_version for result in results)
    return max(counts, key=lambda version: (counts[version], version))
