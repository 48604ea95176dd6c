"""The way of one question that nothing holds up, without any input or output."""

from __future__ import annotations

from bertqa.client._batcher import Outcome
from bertqa.client._concurrency import ConcurrencyLimit, Hold
from bertqa.client._effects import Effect, RunInference, WindowResult
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._refusals import Response
from bertqa.client._scheduler import Scheduler
from bertqa.client._turns import Sending
from bertqa.errors import BertQAError, ProtocolError
from bertqa.qa import split_logits
from bertqa.transport import InferResult


class ShortWay:
    """Drives one flow as long as all that it needs is one window, and a slot that is free.

    That is so for most questions, and takes no scheduler. What needs more is handed over.

    Args:
        question: The question.
        flow: Its flow, which has not begun.
        limit: Grants the slots.
        deadline: When the answer is too late, a time of `time.monotonic()`.

    Attributes:
        outcome: The answers or the error; None until they are there.
    """

    def __init__(
        self, question: Question, flow: AnswerFlow, limit: ConcurrencyLimit, deadline: float
    ) -> None:
        self.outcome: Outcome | None = None
        self._question = question
        self._flow = flow
        self._limit = limit
        self._deadline = deadline
        self._effect: Effect | None = None
        self._response: Response | None = None

    def next(self, response: Response | None = None) -> Sending | RunInference | None:
        """Continue the flow.

        Args:
            response: What the last request ended with, None at first.

        Returns:
            The request to send, or the effect that has to wait for a slot, which its window may
            share with others. None where there is an outcome, or the flow has to be handed over.
        """
        results: list[WindowResult] | None = None
        if isinstance(self._effect, RunInference):
            self._response = response
            if not isinstance(response, InferResult):
                return None
            try:
                (logits,) = split_logits(response.outputs, self._effect.windows)
            except ProtocolError:
                return None
            results = [WindowResult(logits, response.model_version)]
            self._response = None
        try:
            self._effect = self._flow.send(results)
        except StopIteration as stop:
            self.outcome = stop.value
            return None
        except BertQAError as error:
            self.outcome = error
            return None
        if not isinstance(self._effect, RunInference) or len(self._effect.windows) > 1:
            return None
        slot = self._limit.request(_nothing, self._effect.version)
        if not slot.is_held:
            self._limit.release(slot)
            return self._effect
        return Sending(self._effect, self._deadline, Hold(self._limit, slot), None)

    def hand_over(self, scheduler: Scheduler) -> None:
        """Leave the flow, where it is, to a scheduler.

        Args:
            scheduler: A scheduler that has no question yet.
        """
        scheduler.add(self._question, self._flow, self._effect)
        if self._response is not None:
            request = scheduler.next_request(last=True)
            assert request is not None
            scheduler.receive(request, self._response)


def _nothing() -> None:
    pass
