"""How one question is answered, without any input or output.

An `AnswerFlow` is a generator: it yields effects, is sent their results, and returns the answers.
Whether a driver executes the effects in threads or in tasks, for one flow or for many at a time,
makes no difference to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from bertqa.client._effects import Effect, FetchMetadata, RunInference, Sleep, WindowResult
from bertqa.client._model_registry import ModelRegistry, ModelSpec
from bertqa.client._options import Settings
from bertqa.client._tracing import stage
from bertqa.errors import (
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    ModelNotFoundError,
    ModelNotReadyError,
    ProtocolError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.qa import Answer, Span, check_text
from bertqa.transport import pauses

logger = logging.getLogger(__name__)

# How often the default version may change under one question before the flow gives up.
_CHANGES_FOLLOWED = 3


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
            except (ServerUnreachableError, ModelNotFoundError, ModelNotReadyError) as error:
                if isinstance(error, ServerUnreachableError):
                    registry.forget()
                if waits is None:
                    deadline = self.deadline or time.monotonic() + self.settings.timeout
                    waits = pauses(deadline, patient=True)
                pause = next(waits, None)
                # A server that starts again knows neither the model nor any version for a moment.
                is_version = isinstance(error, ModelNotReadyError)
                has_met = registry.has_met(version) if is_version else registry.has_met_any
                if pause is None or not has_met:
                    raise
            yield Sleep(pause)

    def _answer_once(self, registry: ModelRegistry, version: int | None) -> AnswerFlow:
        spec = yield from _spec_of(registry, version)
        for _ in range(_CHANGES_FOLLOWED):
            with stage("bertqa.tokenize"):
                windows = spec.windows(
                    self.question,
                    self.context,
                    max_seq_len=self.settings.max_seq_len,
                    doc_stride=self.settings.doc_stride,
                    max_question_len=self.settings.max_question_len,
                )
            results: list[WindowResult] = yield RunInference(windows, version)
            versions = {result.model_version for result in results}
            answered = max(versions)
            if version is None:
                current = yield from _spec_of(registry, answered)
                if current != spec or len(versions) > 1:
                    logger.info("the default version is %d now: starting again", answered)
                    registry.make_default(current)
                    spec = current
                    continue
            elif versions != {version}:
                raise ProtocolError(
                    f"Version {version} was requested, but version {answered} answered."
                )
            with stage("bertqa.decode"):
                spans = self.settings.decoder.decode(
                    self.context, windows, [result.logits for result in results], self.top_k
                )
            return [self._answer_at(span, answered) for span in spans]
        raise ProtocolError(
            f"The server's default version changed {_CHANGES_FOLLOWED} times under one question. "
            "Pass version=... to stay with one."
        )

    def _answer_at(self, span: Span, version: int) -> Answer:
        text = self.context[span.start : span.end]
        return Answer(text, span.start, span.end, span.score, version)


def _spec_of(
    registry: ModelRegistry, version: int | None
) -> Generator[FetchMetadata, ModelSpec, ModelSpec]:
    known = registry.get(version)
    if known is not None:
        return known
    return (yield FetchMetadata(version, registry))
