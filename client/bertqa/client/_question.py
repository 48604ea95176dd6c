"""How one question is answered, without any input or output.

An `AnswerFlow` is a generator: it yields effects, is sent their results, and returns the answers.
Whether a driver executes the effects in threads or in tasks, for one flow or for many at a time,
makes no difference to it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from bertqa import _defaults
from bertqa.client._deadline import Patience
from bertqa.client._effects import Compute, Effect, FetchMetadata, RunInference, Sleep, WindowResult
from bertqa.client._model_registry import ModelRegistry, ModelSpec
from bertqa.client._options import Settings
from bertqa.client._pace import PacedWindows
from bertqa.client._tracing import stage
from bertqa.errors import (
    BertQAError,
    CertificateError,
    DeadlineExceededError,
    InvalidContextError,
    InvalidOptionError,
    InvalidQuestionError,
    ModelNotFoundError,
    ModelNotReadyError,
    ProtocolError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.qa import Answer, Pace, Span, Window, check_text, no_pace, whole_clusters
from bertqa.transport import pauses

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How many windows' results are released before other threads get a turn.
_FORGOTTEN_AT_ONCE = 256
# What another attempt may not meet.
_MAY_PASS = (
    ServerUnreachableError,
    ModelNotFoundError,
    ModelNotReadyError,
    VersionNotFoundError,
)
# What a model that fails on its inputs looks like: on a server, and in this process.
_OF_THE_MODEL = (ProtocolError, BertQAError)

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
        patience: The clock of that.

    Raises:
        InvalidOptionError: `top_k` is below 1.
    """

    question: str
    context: str
    top_k: int
    settings: Settings
    deadline: float | None = None
    patience: Patience = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InvalidOptionError(f"top_k is {self.top_k}, but it has to be 1 or more.")
        patience = Patience(self.settings.timeout, self.deadline)
        object.__setattr__(self, "patience", patience)

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
        yield from self._computed(self._check)
        try:
            return (yield from self._answer_patiently(registry, version))
        except VersionNotFoundError as error:
            if version is None:
                raise
            if not fall_back:
                raise (yield from _naming_versions(error, registry, version)) from error
            logger.warning("falling back to the default version: %s", error)
            return (yield from self._answer_patiently(registry, None))

    def _answer_patiently(self, registry: ModelRegistry, version: int | None) -> AnswerFlow:
        """Repeat where a version was there and is gone: a restarted server loads its models."""
        waits: Iterator[float] | None = None
        reason: BertQAError | None = None
        while True:
            begin = time.monotonic()
            try:
                return (yield from self._answer_once(registry, version))
            except DeadlineExceededError:
                # Too little time was left: what the attempts before met says more.
                if reason is None or time.monotonic() - begin > _defaults.BACKOFF_LIMIT_SECONDS:
                    raise
                raise reason from reason.__cause__
            except _MAY_PASS as error:
                if isinstance(error, ServerUnreachableError):
                    registry.forget()
                if waits is None:
                    waits = pauses(self.patience.failed(), patient=True)
                if not _may_pass(error, registry, version):
                    raise
                pause = next(waits, None)
                reason = error
                if isinstance(error, VersionNotFoundError):
                    reason = ProtocolError(
                        "The server's default version kept changing under one question. Pass "
                        "version=... to stay with one.",
                        detail=str(error),
                    )
                    reason.__cause__ = error
                if pause is None:
                    raise reason from reason.__cause__
            yield Sleep(pause)

    def _answer_once(self, registry: ModelRegistry, version: int | None) -> AnswerFlow:
        spec = yield from _spec_of(registry, version)
        windows = yield from self._computed(partial(self._windows, spec))
        results: list[WindowResult]
        try:
            results = yield RunInference(windows, version)
        except BertQAError as error:
            if version is None and isinstance(error, ProtocolError):
                yield from _require_same_default(registry, spec, error)
            raise self._with_length(error, spec) from error.__cause__
        registry.has_answered = True
        found = _versions(results)
        # The version that answered most of the windows, of two as good the newer one.
        answered = max(found, key=lambda each: (found[each], each))
        if version is None:
            current = yield from _spec_of(registry, answered)
            if current != spec:
                logger.info("the default version is %d now: starting again", answered)
                registry.make_default(current)
                windows = yield from self._computed(partial(self._windows, current))
                results = yield RunInference(windows, answered)
                found = _versions(results)
            if found.keys() != {answered}:
                others = [at for at, each in enumerate(results) if each.model_version != answered]
                logger.info("several versions answer: all windows go to version %d", answered)
                again: list[WindowResult] = yield RunInference(
                    [windows[at] for at in others], answered
                )
                for at, result in zip(others, again, strict=True):
                    results[at] = result
                found = _versions(results)
        if found.keys() != {answered if version is None else version}:
            raise ProtocolError(
                f"Version {answered if version is None else version} was requested, but version "
                f"{max(found)} answered."
            )
        spans = yield from self._computed(partial(self._spans, windows, results))
        return [self._answer_at(span, answered) for span in spans]

    def _with_length(self, error: BertQAError, spec: ModelSpec) -> BertQAError:
        """Return an error that says where a model may have got more tokens than it takes."""
        length = self.settings.max_seq_len
        # Servers and engines have no other words for it than for any failure of a model.
        if length is None or spec.limit is not None or type(error) not in _OF_THE_MODEL:
            return error
        return type(error)(
            f"{error} With tokenizer= the greatest max_seq_len= of the model is not known: "
            f"{length} may be more than it takes, which is 512 for most models of BERT's family.",
            detail=error.detail,
        )

    def _computed(self, work: Callable[[Pace], T]) -> Generator[Compute, Any, T]:
        """Return the result of work on the texts, left to the driver where they are long."""
        texts = self.question, self.context
        if sum(len(text) for text in texts if isinstance(text, str)) <= _defaults.LONG_TEXT:
            return work(no_pace)
        result: T = yield Compute(work)
        return result

    def _check(self, pace: Pace) -> None:
        check_text(self.question, "question", InvalidQuestionError, pace)
        check_text(self.context, "context", InvalidContextError, pace)

    def _spans(
        self, windows: Sequence[Window], results: list[WindowResult], pace: Pace
    ) -> list[Span]:
        if pace is not no_pace:
            windows = PacedWindows(windows, pace)
        with stage("bertqa.decode"):
            logits = [result.logits for result in results]
            spans = self.settings.decoder.decode(self.context, windows, logits, self.top_k)
            del logits
        if pace is not no_pace:
            # They are not used again, and thousands that end at once would hold up other tasks.
            while results:
                del results[-_FORGOTTEN_AT_ONCE:]
                pace()
        return spans

    def _windows(self, spec: ModelSpec, pace: Pace) -> Sequence[Window]:
        with stage("bertqa.tokenize"):
            return spec.windows(
                self.question,
                self.context,
                max_seq_len=self.settings.max_seq_len,
                doc_stride=self.settings.doc_stride,
                max_question_len=self.settings.max_question_len,
                pace=pace,
            )

    def _answer_at(self, span: Span, version: int) -> Answer:
        # A decoder of the caller's own may cut a character in two.
        start, end = whole_clusters(self.context, span.start, span.end)
        return Answer(self.context[start:end], start, end, span.score, version)


def _may_pass(error: BertQAError, registry: ModelRegistry, version: int | None) -> bool:
    if isinstance(error, CertificateError):
        return False
    if isinstance(error, VersionNotFoundError):
        # It has answered, and was retired or is on another server: the next answer may be of
        # another version.
        return version is None
    if isinstance(error, ServerUnreachableError):
        return registry.has_answered
    # A server that starts again knows neither the model nor any version for a moment.
    is_version = isinstance(error, ModelNotReadyError)
    return registry.has_met(version) if is_version else registry.has_met_any


def _require_same_default(
    registry: ModelRegistry, spec: ModelSpec, error: ProtocolError
) -> Generator[FetchMetadata, ModelSpec, None]:
    """Refuse to go on with a spec that is not that of the default version any more.

    Raises:
        VersionNotFoundError: The server has another default version by now, maybe of another
            family, which takes other inputs.
    """
    registry.forget_default(spec)
    if (yield from _spec_of(registry, None)) != spec:
        raise VersionNotFoundError(
            "The server's default version takes other inputs now.", detail=str(error)
        ) from error


def _naming_versions(
    error: VersionNotFoundError, registry: ModelRegistry, version: int
) -> Generator[FetchMetadata, ModelSpec, VersionNotFoundError]:
    """Return an error that names the versions that are served, where the server lists them."""
    if not registry.served or version in registry.served:
        try:
            yield FetchMetadata(None, registry, anew=True)
        except BertQAError:
            return error
    served = ", ".join(map(str, registry.served))
    return VersionNotFoundError(f"{error} Versions that are served: {served}.", detail=error.detail)


def _spec_of(
    registry: ModelRegistry, version: int | None
) -> Generator[FetchMetadata, ModelSpec, ModelSpec]:
    known = registry.get(version)
    if known is not None:
        return known
    return (yield FetchMetadata(version, registry))


def _versions(results: list[WindowResult]) -> Counter[int]:
    """Return how many windows each version has answered."""
    return Counter(map(attrgetter("model_version"), results))
