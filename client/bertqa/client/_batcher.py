"""Gathers the windows of many questions into batches, without any input or output."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from bertqa import _defaults
from bertqa.client._effects import RunInference, WindowResult
from bertqa.client._question import AnswerFlow, Question
from bertqa.errors import BertQAError, InvalidOptionError, ProtocolError
from bertqa.qa import Answer, Window, Windows, padded_length, split_logits
from bertqa.transport import InferResult

Outcome = list[Answer] | BertQAError

_Key = tuple[int | None, tuple[str, ...], int]
"""A version, the inputs that it takes, and a padded length."""


@dataclass(slots=True, eq=False)
class InFlightQuestion:
    """A question whose flow has begun.

    Attributes:
        question: The question.
        flow: The flow that answers it.
        number: Its position among all questions.
        outcome: The answers or the error, None as long as the flow runs.
        results: The results of the windows that the flow requested last, as far as they are there.
        missing: How many of them are not there.
        weight: What it counts for, of what may be under way: as many as its windows, at least 1.
    """

    question: Question
    flow: AnswerFlow
    number: int
    outcome: Outcome | None = None
    results: list[WindowResult | None] = field(default_factory=list)
    missing: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class PendingWindow:
    """A window, and where its result belongs.

    Attributes:
        owner: The question that the window is of.
        results: The list of results that the window is of.
        index: The window's index in `results`, and in `windows`.
        windows: The windows that the flow requested, each of which may be made when it is needed.
        version: The version to run; None is the server's default.
    """

    owner: InFlightQuestion
    results: list[WindowResult | None]
    index: int
    windows: Sequence[Window]
    version: int | None

    @property
    def window(self) -> Window:
        """The window."""
        return self.windows[self.index]

    @property
    def length(self) -> int:
        """How many tokens the window has."""
        if isinstance(self.windows, Windows):
            return self.windows.tokens_in(self.index)
        return len(self.windows[self.index])

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that the window is made for."""
        if isinstance(self.windows, Windows):
            return self.windows.inputs
        return self.windows[self.index].inputs

    @property
    def is_wanted(self) -> bool:
        """Whether the flow still waits for the result."""
        return self.owner.outcome is None and self.owner.results is self.results


class Batcher:
    """Sorts windows by length within a look-ahead, and fills batches with those of like length.

    No batch holds more than the budget, so that none is too much for a server, however many windows
    one context has.

    Args:
        look_ahead: How many windows are gathered before batches are made of them.
        token_budget: How many tokens a batch holds at most, padding included, unless it is one
            window.

    Raises:
        InvalidOptionError: `look_ahead` is below 1.
    """

    def __init__(
        self,
        look_ahead: int = _defaults.LOOK_AHEAD,
        token_budget: int = _defaults.TOKEN_BUDGET,
    ) -> None:
        if look_ahead < 1:
            raise InvalidOptionError(f"look_ahead is {look_ahead}, but it has to be 1 or more.")
        self.look_ahead = look_ahead
        self._token_budget = token_budget
        self._gathered: list[PendingWindow] = []
        # What is gathered when there is room for it: one context may have thousands of windows.
        self._coming: deque[Iterator[PendingWindow]] = deque()
        self._ready: deque[tuple[int | None, list[PendingWindow]]] = deque()
        self._sent: dict[RunInference, list[PendingWindow]] = {}

    @property
    def wants_more(self) -> bool:
        """Whether more windows would help to fill batches."""
        return len(self._gathered) < self.look_ahead

    def has_batch(self, *, flush: bool) -> bool:
        """Return whether there are windows to make a batch of.

        Args:
            flush: Whether to make batches of what is gathered now.

        Returns:
            Whether there are any, though none of them may be wanted any more.
        """
        return bool(self._ready or (flush and self._gathered))

    def add(self, windows: Iterable[PendingWindow]) -> None:
        """Gather windows.

        Args:
            windows: The windows of one question, which wait for their batches.
        """
        self._coming.append(iter(windows))
        self._gather()

    def next_batch(self, *, flush: bool) -> RunInference | None:
        """Return the next batch to run.

        Args:
            flush: Whether to make batches of what is gathered now.

        Returns:
            The batch, or None where there is none.
        """
        while not self._ready and flush and self._gathered:
            self._make_batches()
        if not self._ready:
            return None
        version, pending = self._ready.popleft()
        batch = RunInference([each.window for each in pending], version)
        self._sent[batch] = pending
        return batch

    def owners(self, batch: RunInference) -> list[InFlightQuestion]:
        """Return the questions that still wait for a batch, one for each of its windows.

        Args:
            batch: A batch that `next_batch` returned.
        """
        return [pending.owner for pending in self._sent[batch] if pending.is_wanted]

    def is_wanted(self, batch: RunInference) -> bool:
        """Return whether a flow still waits for a batch.

        Args:
            batch: A batch that `next_batch` returned.

        Returns:
            Whether any of its windows is waited for.
        """
        return bool(self.owners(batch))

    def discard(self, batch: RunInference) -> None:
        """Forget a batch that nothing waits for.

        Args:
            batch: A batch that `next_batch` returned.
        """
        del self._sent[batch]

    def receive(
        self, batch: RunInference, response: InferResult | BertQAError
    ) -> list[tuple[PendingWindow, WindowResult | BertQAError]]:
        """Take the response to a batch.

        Args:
            batch: A batch that `next_batch` returned.
            response: The result of running it, or the error that it ended with.

        Returns:
            Each window of the batch with its result, or with the error.
        """
        pending = self._sent.pop(batch)
        if isinstance(response, BertQAError):
            return [(window, response) for window in pending]
        try:
            rows = split_logits(response.outputs, batch.windows)
        except ProtocolError as error:
            return [(window, error) for window in pending]
        return [
            (window, WindowResult(logits, response.model_version))
            for window, logits in zip(pending, rows, strict=True)
        ]

    def _make_batches(self) -> None:
        """Make batches of what is gathered, those with windows of early questions first."""
        groups: dict[_Key, list[PendingWindow]] = defaultdict(list)
        for pending in self._gathered:
            if pending.is_wanted:
                key = pending.version, pending.inputs, padded_length(pending.length)
                groups[key].append(pending)
        self._gathered = []
        self._gather()
        batches = [
            (version, group[first : first + size])
            for (version, _, length), group in groups.items()
            for size in [max(self._token_budget // length, 1)]
            for first in range(0, len(group), size)
        ]
        batches.sort(key=lambda batch: batch[1][0].owner.number)
        self._ready += batches

    def _gather(self) -> None:
        """Gather windows up to the look-ahead."""
        while self._coming and self.wants_more:
            some = list(islice(self._coming[0], self.look_ahead - len(self._gathered)))
            self._gathered += some
            if not some:
                self._coming.popleft()
