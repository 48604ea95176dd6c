"""How one question is answered, without any input or output.

An `AnswerFlow` is a generator: it yields what it needs to know, is sent that, and returns the
answers. What drives it may be synchronous or not, and may answer many at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from bertqa.qa import Answer, Logits, Span, Window, check_text
from bertqa.transport import ModelMetadata, pauses

logger = logging.getLogger(__name__)

# How often the default version may change under one question before it is given up.
_CHANGES_FOLLOWED = 3


class WindowResult(NamedTuple):
    """What the model said of one window, and which version said it."""

    logits: Logits
    model_version: int


@dataclass(frozen=True, slots=True)
class FetchMetadata:
    """The flow needs a version's `ModelMetadata`."""

    version: int | None


@dataclass(frozen=True, slots=True)
class RunInference:
    """The flow needs a `WindowResult` for each of the windows, in their order."""

    windows: list[Window]
    version: int | None


@dataclass(frozen=True, slots=True)
class Sleep:
    """The flow needs some seconds to pass."""

    seconds: float


Effect = FetchMetadata | RunInference | Sleep
AnswerFlow = Generator[Effect, Any, list[Answer]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a context, and how to go about it."""

    question: str
    context: str
    top_k: int
    settings: Settings

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InvalidOptionError(f"top_k is {self.top_k}, but it has to be 1 or more.")

    def flow(self, registry: ModelRegistry, version: int | None, *, fall_back: bool) -> AnswerFlow:
        """Begin to answer with a version, None being the server's default.

        With `fall_back`, the default version answers where the chosen one is gone.
        """
        check_text(self.question, "question", InvalidQuestionError)
        check_text(self.context, "context", InvalidContextError)
        try:
            return (yield from self._ask_patiently(registry, version))
        except VersionNotFoundError as error:
            if version is None or not fall_back:
                raise
            logger.warning("falling back to the default version: %s", error)
            return (yield from self._ask_patiently(registry, None))

    def _ask_patiently(self, registry: ModelRegistry, version: int | None) -> AnswerFlow:
        """Ask again what was there and is gone: a server that restarts has to load its models."""
        waits = pauses(time.monotonic() + self.settings.timeout, patient=True)
        while True:
            try:
                return (yield from self._ask(registry, version))
            except (ServerUnreachableError, ModelNotFoundError, ModelNotReadyError) as error:
                if isinstance(error, ServerUnreachableError):
                    registry.forget()
                pause = next(waits, None)
                if pause is None or not registry.has_met(version):
                    raise
            yield Sleep(pause)

    def _ask(self, registry: ModelRegistry, version: int | None) -> AnswerFlow:
        spec = yield from _describe(registry, version)
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
                current = yield from _describe(registry, answered)
                if current != spec or len(versions) > 1:
                    logger.info("the default version is %d now: asking again", answered)
                    registry.make_default(current)
                    spec = current
                    continue
            elif versions != {version}:
                raise ProtocolError(
                    f"Version {version} was asked, but version {answered} answered."
                )
            with stage("bertqa.decode"):
                spans = self.settings.decoder.decode(
                    self.context, windows, [result.logits for result in results], self.top_k
                )
            return [self._answer(span, answered) for span in spans]
        raise ProtocolError(
            f"The server's default version changed {_CHANGES_FOLLOWED} times under one question. "
            "Pass version=... to stay with one."
        )

    def _answer(self, span: Span, version: int) -> Answer:
        text = self.context[span.start : span.end]
        return Answer(text, span.start, span.end, span.score, version)


def _describe(
    registry: ModelRegistry, version: int | None
) -> Generator[FetchMetadata, ModelMetadata, ModelSpec]:
    known = registry.get(version)
    if known is not None:
        return known
    return registry.learn(version, (yield FetchMetadata(version)))
