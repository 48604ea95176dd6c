"""Advances the flows of many questions at a time, in order, without any input or output."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from bertqa.client._batcher import Batcher, InFlightQuestion, Outcome, PendingWindow
from bertqa.client._effects import Effect, FetchMetadata, RunInference, Sleep, WindowResult
from bertqa.client._question import AnswerFlow, Question
from bertqa.errors import BertQAError
from bertqa.transport import InferResult, ModelMetadata

Response = ModelMetadata | InferResult | BertQAError | None
"""The result of an effect: None of a Sleep, a BertQAError of what failed."""


class Scheduler:
    """Collects the effects of flows, and hands them out for a driver to execute.

    Windows go through a `Batcher`; the metadata of a version is fetched once for all flows that
    need it; a pause is neither batched nor counted. Three times the look-ahead of windows may be
    under way before no more questions are wanted.

    Args:
        batcher: Gathers the windows.
    """

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._questions: deque[InFlightQuestion] = deque()
        self._added = 0
        self._under_way = 0
        self._effects: deque[FetchMetadata | Sleep] = deque()
        self._fetching: dict[int | None, list[InFlightQuestion]] = {}
        self._sleeping: dict[Sleep, InFlightQuestion] = {}

    @property
    def wants_more(self) -> bool:
        """Whether more questions would help to fill batches."""
        return self._batcher.wants_more and self._under_way < 3 * self._batcher.look_ahead

    @property
    def has_effects(self) -> bool:
        """Whether an effect is ready, though it may have to wait for others in flight."""
        return bool(self._effects) or self._batcher.has_ready

    @property
    def is_empty(self) -> bool:
        """Whether every question that was added has been returned by `ready`."""
        return not self._questions

    def add(self, question: Question, flow: AnswerFlow) -> None:
        """Add one more question.

        Args:
            question: The question, for its place among the others and its deadline.
            flow: Its flow, which has not begun.
        """
        added = InFlightQuestion(question, flow, self._added)
        self._added += 1
        self._under_way += 1
        self._questions.append(added)
        self._advance(added, None)

    def next_effect(self, *, last: bool) -> Effect | None:
        """Return the next effect to execute.

        Args:
            last: Whether no question follows.

        Returns:
            The effect, or None where there is none now.
        """
        if self._effects:
            return self._effects.popleft()
        return self._batcher.next_batch(flush=last or not self.wants_more)

    def receive(self, effect: Effect, response: Response) -> None:
        """Take the result of an effect.

        Args:
            effect: An effect that `next_effect` returned.
            response: `ModelMetadata` for FetchMetadata, `InferResult` for RunInference, None for
                Sleep, or the error that the effect ended with.
        """
        if isinstance(effect, Sleep):
            self._advance(self._sleeping.pop(effect), response)
        elif isinstance(effect, FetchMetadata):
            for question in self._fetching.pop(effect.version):
                self._advance(question, response)
        else:
            assert isinstance(response, InferResult | BertQAError)
            for pending, result in self._batcher.receive(effect, response):
                self._place(pending, result)

    def ready(self) -> Iterator[tuple[Question, Outcome]]:
        """Yield questions in the order in which they were added, as far as their outcomes go."""
        while self._questions and (outcome := self._questions[0].outcome) is not None:
            done = self._questions.popleft()
            self._under_way -= max(len(done.results), 1)
            yield done.question, outcome

    def _place(self, pending: PendingWindow, result: WindowResult | BertQAError) -> None:
        if not pending.is_wanted:
            return
        if isinstance(result, BertQAError):
            # The flow learns of it once, whatever becomes of its other windows.
            self._set_results(pending.owner, [])
            self._advance(pending.owner, result)
            return
        pending.results[pending.index] = result
        if None not in pending.results:
            self._advance(pending.owner, pending.results)

    def _advance(self, question: InFlightQuestion, response: object) -> None:
        """Run a flow until its next effect or its end."""
        try:
            if isinstance(response, BertQAError):
                effect = question.flow.throw(response)
            else:
                effect = question.flow.send(response)
        except StopIteration as stop:
            question.outcome = stop.value
            return
        except BertQAError as error:
            question.outcome = error
            return
        if isinstance(effect, RunInference):
            self._gather(question, effect)
        elif isinstance(effect, Sleep):
            self._sleeping[effect] = question
            self._effects.append(effect)
        elif effect.version in self._fetching:
            self._fetching[effect.version].append(question)
        else:
            self._fetching[effect.version] = [question]
            self._effects.append(effect)

    def _gather(self, question: InFlightQuestion, effect: RunInference) -> None:
        self._set_results(question, [None] * len(effect.windows))
        self._batcher.add(
            PendingWindow(question, question.results, index, window, effect.version)
            for index, window in enumerate(effect.windows)
        )

    def _set_results(self, question: InFlightQuestion, results: list[WindowResult | None]) -> None:
        self._under_way += max(len(results), 1) - max(len(question.results), 1)
        question.results = results
