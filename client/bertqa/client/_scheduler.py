"""Advances the flows of many questions at a time, in order, without any input or output."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from bertqa.client._batcher import Batcher, InFlightQuestion, Outcome, PendingWindow
from bertqa.client._effects import (
    Compute,
    Effect,
    FetchMetadata,
    Request,
    RunInference,
    Sleep,
    WindowResult,
)
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._refusals import Refusals, Response
from bertqa.errors import BertQAError
from bertqa.transport import InferResult


class Scheduler:
    """Collects the effects of flows, and hands them out for a driver to execute.

    Windows go through a `Batcher`; the metadata of a version is fetched once for all flows that
    need it; work on a long text is handed out by itself. A request that the server refused is
    handed out again after a pause, as it was: nothing is tokenised again. Three times the
    look-ahead of windows may be under way before no more questions are wanted; with a look-ahead
    of 1 nothing may, because the source waits for each answer.

    Args:
        batcher: Gathers the windows.
        refusals: Decides what is sent again.
    """

    def __init__(self, batcher: Batcher, refusals: Refusals) -> None:
        self._batcher = batcher
        self._refusals = refusals
        self._questions: deque[InFlightQuestion] = deque()
        self._added = 0
        self._under_way = 0
        look_ahead = batcher.look_ahead
        self._most_under_way = 1 if look_ahead == 1 else 3 * look_ahead
        self._computations: deque[Compute] = deque()
        self._computing: dict[Compute, InFlightQuestion] = {}
        self._pauses: deque[Sleep] = deque()
        self._sleeping: dict[Sleep, InFlightQuestion | Request] = {}
        self._requests: deque[Request] = deque()
        self._fetching: dict[int | None, list[InFlightQuestion]] = {}

    @property
    def wants_more(self) -> bool:
        """Whether more questions would help to fill batches."""
        return self._batcher.wants_more and self._under_way < self._most_under_way

    @property
    def is_empty(self) -> bool:
        """Whether every question that was added has been returned by `ready`."""
        return not self._questions

    def add(self, question: Question, flow: AnswerFlow, effect: Effect | None = None) -> None:
        """Add one more question.

        Args:
            question: The question, for its place among the others and its deadline.
            flow: Its flow.
            effect: The effect that the flow waits for, None where it has not begun.
        """
        added = InFlightQuestion(question, flow, self._added)
        self._added += 1
        self._under_way += 1
        self._questions.append(added)
        if effect is None:
            self._advance(added, None)
        else:
            self._take(added, effect)

    def next_computation(self) -> Compute | None:
        """Return the next work to begin, or None where there is none now."""
        return self._computations.popleft() if self._computations else None

    def computed(self, computation: Compute, result: object) -> None:
        """Take the result of some work.

        Args:
            computation: What `next_computation` returned.
            result: Its result, or the BertQAError that it ended with.
        """
        self._advance(self._computing.pop(computation), result)

    def take_fetch(self) -> FetchMetadata | None:
        """Return a fetch that `next_request` would return, or None where there is none now."""
        for request in self._requests:
            if isinstance(request, FetchMetadata):
                self._requests.remove(request)
                return request
        return None

    def put_back(self, fetch: FetchMetadata) -> None:
        """Have `next_request` return a fetch first.

        Args:
            fetch: What `take_fetch` returned.
        """
        self._requests.appendleft(fetch)

    def next_pause(self) -> Sleep | None:
        """Return the next pause to begin, or None where there is none now."""
        return self._pauses.popleft() if self._pauses else None

    def has_request(self, *, last: bool) -> bool:
        """Return whether `next_request` may return one.

        Args:
            last: Whether no question follows.

        Returns:
            Whether it may: what is left of a batch may not be wanted any more.
        """
        return bool(self._requests) or self._batcher.has_batch(flush=last or not self.wants_more)

    def next_request(self, *, last: bool) -> Request | None:
        """Return the next request to send.

        Args:
            last: Whether no question follows.

        Returns:
            The request, or None where there is none now.
        """
        while self._requests:
            request = self._requests.popleft()
            if self.is_wanted(request):
                return request
        return self._batcher.next_batch(flush=last or not self.wants_more)

    def is_wanted(self, request: Request) -> bool:
        """Return whether a flow still waits for a request, which is forgotten otherwise.

        Args:
            request: A request that `next_request` returned, and that was not sent.
        """
        if isinstance(request, FetchMetadata) or self._batcher.is_wanted(request):
            return True
        self._batcher.discard(request)
        self._refusals.forget(request)
        return False

    def until(self, request: Request) -> float | None:
        """Return when the first question gives up that waits for a request; see `Patience`.

        Args:
            request: A request that `next_request` or `take_fetch` returned.

        Returns:
            A time of `time.monotonic()`, None where no such question has met a failure.
        """
        ends = [owner.question.patience.until for owner in self._owners(request)]
        return min((end for end in ends if end is not None), default=None)

    def wake(self, pause: Sleep) -> None:
        """Continue after a pause.

        Args:
            pause: A pause that `next_pause` returned, and that is over.
        """
        sleeper = self._sleeping.pop(pause)
        if isinstance(sleeper, InFlightQuestion):
            self._advance(sleeper, None)
        else:
            self._requests.append(sleeper)

    def receive(self, request: Request, response: Response, until: float | None = None) -> None:
        """Take the result of a request.

        Args:
            request: A request that `next_request` returned.
            response: `ModelSpec` for FetchMetadata, `InferResult` for RunInference, or the
                error that the request ended with.
            until: When a question gives up whose first failure this is; see `Patience.failed`.
        """
        judged = self._refusals.judge(request, response, self.until(request))
        if isinstance(judged, Sleep):
            self._sleep(judged, request)
            return
        if isinstance(judged, BertQAError):
            for owner in self._owners(request):
                owner.question.patience.failed(until)
        if isinstance(request, FetchMetadata):
            for question in self._fetching.pop(request.version):
                self._advance(question, judged)
        else:
            assert isinstance(judged, InferResult | BertQAError)
            for pending, result in self._batcher.receive(request, judged):
                self._place(pending, result)

    def ready(self) -> Iterator[tuple[Question, Outcome]]:
        """Yield questions in the order in which they were added, as far as their outcomes go."""
        while self._questions and (outcome := self._questions[0].outcome) is not None:
            done = self._questions.popleft()
            self._under_way -= done.weight
            yield done.question, outcome

    def _owners(self, request: Request) -> list[InFlightQuestion]:
        """Return the questions that wait for a request."""
        if isinstance(request, FetchMetadata):
            return self._fetching[request.version]
        return self._batcher.owners(request)

    def _place(self, pending: PendingWindow, result: WindowResult | BertQAError) -> None:
        if not pending.is_wanted:
            return
        if isinstance(result, BertQAError):
            # The flow learns of it once, whatever becomes of its other windows.
            self._set_results(pending.owner, [])
            self._advance(pending.owner, result)
            return
        pending.owner.question.patience.answered()
        pending.results[pending.index] = result
        pending.owner.missing -= 1
        if not pending.owner.missing:
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
        self._take(question, effect)

    def _take(self, question: InFlightQuestion, effect: Effect) -> None:
        """Arrange for an effect that a flow waits for."""
        if isinstance(effect, RunInference):
            self._gather(question, effect)
        elif isinstance(effect, Sleep):
            self._sleep(effect, question)
        elif isinstance(effect, Compute):
            self._computing[effect] = question
            self._computations.append(effect)
        elif effect.version in self._fetching:
            self._fetching[effect.version].append(question)
        else:
            self._fetching[effect.version] = [question]
            self._requests.append(effect)

    def _sleep(self, pause: Sleep, sleeper: InFlightQuestion | Request) -> None:
        self._sleeping[pause] = sleeper
        self._pauses.append(pause)

    def _gather(self, question: InFlightQuestion, effect: RunInference) -> None:
        self._set_results(question, [None] * len(effect.windows))
        self._batcher.add(_pending(question, effect))

    def _set_results(self, question: InFlightQuestion, results: list[WindowResult | None]) -> None:
        self._under_way -= question.weight
        question.weight = max(len(results), 1)
        self._under_way += question.weight
        question.results = results
        question.missing = len(results)


def _pending(question: InFlightQuestion, effect: RunInference) -> Iterator[PendingWindow]:
    results = question.results
    for index in range(len(effect.windows)):
        pending = PendingWindow(question, results, index, effect.windows, effect.version)
        if not pending.is_wanted:
            return
        yield pending
