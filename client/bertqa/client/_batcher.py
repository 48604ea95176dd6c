"""Answers many questions at a time, in order, without any input or output.

The batcher takes flows (see `bertqa.asking`), hands out requests that gather the windows of
several of them, and takes the responses. Who drives it sends them, in whatever way.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from bertqa import _defaults
from bertqa.artifact import END_LOGITS, START_LOGITS
from bertqa.client._answer_flow import AnswerFlow, FetchMetadata, Question, Sleep, WindowResult
from bertqa.errors import BertQAError, InvalidOptionError, ProtocolError
from bertqa.qa import Answer, Logits, Window, collate, padded_length
from bertqa.transport import AsyncTransport, InferResult, ModelMetadata, Transport

Outcome = list[Answer] | BertQAError
Response = ModelMetadata | InferResult | BertQAError | None


@dataclass(slots=True, eq=False)
class InFlightQuestion:
    """A flow on its way: `results` fills up with those of the windows that it asked for last."""

    question: Question
    flow: AnswerFlow
    number: int
    outcome: Outcome | None = None
    results: list[WindowResult | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PendingWindow:
    """A window, and where its result belongs."""

    job: InFlightQuestion
    results: list[WindowResult | None]
    index: int
    window: Window
    version: int | None

    @property
    def wanted(self) -> bool:
        """Whether the flow still waits for it."""
        return self.job.outcome is None and self.job.results is self.results


@dataclass(frozen=True, slots=True, eq=False)
class MetadataRequest:
    """Asks what a version is."""

    version: int | None
    name: ClassVar[str] = "metadata"

    @property
    def attributes(self) -> dict[str, int]:
        """Return what a trace tells of it."""
        return {}

    def send(self, transport: Transport, timeout: float) -> ModelMetadata:
        """Ask over a transport."""
        return transport.metadata(version=self.version, timeout=timeout)

    async def send_async(self, transport: AsyncTransport, timeout: float) -> ModelMetadata:
        """Ask over an asynchronous transport."""
        return await transport.metadata(version=self.version, timeout=timeout)


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """Runs a batch of windows, which may be of several questions."""

    version: int | None
    pending: list[PendingWindow]
    name: ClassVar[str] = "infer"

    @property
    def attributes(self) -> dict[str, int]:
        """Return what a trace tells of it."""
        return {"windows": len(self.pending), "tokens": sum(map(len, self._windows))}

    @property
    def _windows(self) -> list[Window]:
        return [window.window for window in self.pending]

    def send(self, transport: Transport, timeout: float) -> InferResult:
        """Infer over a transport."""
        return transport.infer(collate(self._windows), version=self.version, timeout=timeout)

    async def send_async(self, transport: AsyncTransport, timeout: float) -> InferResult:
        """Infer over an asynchronous transport."""
        return await transport.infer(collate(self._windows), version=self.version, timeout=timeout)


@dataclass(frozen=True, slots=True, eq=False)
class PauseRequest:
    """Lets time pass for a question, as a request that nobody is sent."""

    job: InFlightQuestion
    seconds: float
    name: ClassVar[str] = "pause"

    @property
    def attributes(self) -> dict[str, int]:
        """Return what a trace tells of it."""
        return {}

    def send(self, transport: Transport, timeout: float) -> None:
        """Wait."""
        time.sleep(min(self.seconds, timeout))

    async def send_async(self, transport: AsyncTransport, timeout: float) -> None:
        """Wait."""
        await asyncio.sleep(min(self.seconds, timeout))


Request = MetadataRequest | InferRequest | PauseRequest


class Batcher:
    """Sorts windows by length within a look-ahead, and gives outcomes in the order of questions.

    `look_ahead` is in windows; three times that many may be under way before no more are wanted.
    `timeout`, in seconds, is that of a request: how many are sent at once grows while they take a
    small part of it, and shrinks when they take more, so that a slow server is not drowned.
    """

    def __init__(
        self,
        timeout: float = _defaults.TIMEOUT_SECONDS,
        look_ahead: int = _defaults.LOOK_AHEAD,
        token_budget: int = _defaults.TOKEN_BUDGET,
    ) -> None:
        if look_ahead < 1:
            raise InvalidOptionError(f"look_ahead is {look_ahead}, but it has to be 1 or more.")
        self._soon = timeout * _defaults.SOON_PART_OF_TIMEOUT
        self._at_once = _defaults.REQUESTS_AT_FIRST
        self._sent: dict[Request, float] = {}
        self._look_ahead = look_ahead
        self._token_budget = token_budget
        self._jobs: deque[InFlightQuestion] = deque()
        self._added = 0
        self._under_way = 0
        self._waiting: dict[int | None, list[InFlightQuestion]] = {}
        self._unsorted: list[PendingWindow] = []
        self._requests: deque[Request] = deque()

    @property
    def wants_more(self) -> bool:
        """Whether more questions would help to fill batches."""
        return len(self._unsorted) < self._look_ahead and self._under_way < 3 * self._look_ahead

    def add(self, question: Question, flow: AnswerFlow) -> None:
        """Take one more question, whose flow has not begun."""
        job = InFlightQuestion(question, flow, self._added)
        self._added += 1
        self._under_way += 1
        self._jobs.append(job)
        self._advance(job, None)

    def next_request(self, *, last: bool) -> Request | None:
        """Return what to send next, if there is anything; `last` says that no question follows."""
        if not self._requests and self._unsorted and (last or not self.wants_more):
            self._plan()
        if not self._requests or len(self._sent) >= self._at_once:
            return None
        request = self._requests.popleft()
        self._sent[request] = time.monotonic()
        return request

    @property
    def has_requests(self) -> bool:
        """Whether a request is ready to be sent."""
        return bool(self._requests)

    @property
    def is_empty(self) -> bool:
        """Whether every question that was added has been given back."""
        return not self._jobs

    def receive(self, request: Request, response: Response) -> None:
        """Take what came back for a request, or why nothing did."""
        taken = time.monotonic() - self._sent.pop(request)
        step = 1 if taken < self._soon else -1
        self._at_once = min(max(self._at_once + step, 1), _defaults.REQUESTS_IN_FLIGHT)
        if isinstance(request, PauseRequest):
            self._advance(request.job, response)
        elif isinstance(request, MetadataRequest):
            for job in self._waiting.pop(request.version):
                self._advance(job, response)
        elif isinstance(response, InferResult):
            try:
                rows = split_logits(response, [window.window for window in request.pending])
            except ProtocolError as error:
                self._fail(request, error)
                return
            for window, logits in zip(request.pending, rows, strict=True):
                window.results[window.index] = WindowResult(logits, response.model_version)
                if window.wanted and None not in window.results:
                    self._advance(window.job, window.results)
        elif isinstance(response, BertQAError):
            self._fail(request, response)

    def ready(self) -> Iterator[tuple[Question, Outcome]]:
        """Return the questions whose turn it is and whose outcomes are there."""
        while self._jobs and (outcome := self._jobs[0].outcome) is not None:
            job = self._jobs.popleft()
            self._under_way -= max(len(job.results), 1)
            yield job.question, outcome

    def _fail(self, request: InferRequest, error: BertQAError) -> None:
        for window in request.pending:
            if window.wanted:
                self._advance(window.job, error)

    def _advance(self, job: InFlightQuestion, response: object) -> None:
        """Go on with a flow until it needs something again, or is done."""
        try:
            if isinstance(response, BertQAError):
                effect = job.flow.throw(response)
            else:
                effect = job.flow.send(response)
        except StopIteration as stop:
            job.outcome = stop.value
            return
        except BertQAError as error:
            job.outcome = error
            return
        if isinstance(effect, FetchMetadata):
            if effect.version not in self._waiting:
                self._waiting[effect.version] = []
                self._requests.append(MetadataRequest(effect.version))
            self._waiting[effect.version].append(job)
            return
        if isinstance(effect, Sleep):
            self._requests.append(PauseRequest(job, effect.seconds))
            return
        self._under_way += len(effect.windows) - max(len(job.results), 1)
        job.results = [None] * len(effect.windows)
        self._unsorted += [
            PendingWindow(job, job.results, index, window, effect.version)
            for index, window in enumerate(effect.windows)
        ]

    def _plan(self) -> None:
        """Make requests of the windows that have gathered, those of early questions first."""
        groups: dict[tuple[int | None, int], list[PendingWindow]] = defaultdict(list)
        for window in self._unsorted:
            if window.wanted:
                groups[window.version, padded_length(len(window.window))].append(window)
        self._unsorted = []
        batches = [
            InferRequest(version, pending[first : first + size])
            for (version, length), pending in groups.items()
            for size in [max(self._token_budget // length, 1)]
            for first in range(0, len(pending), size)
        ]
        batches.sort(key=lambda request: request.pending[0].job.number)
        self._requests += batches


def split_logits(result: InferResult, windows: Sequence[Window]) -> list[Logits]:
    """Cut the padding off each row of the outputs. Raises ProtocolError where they do not fit."""
    lengths = [len(window) for window in windows]
    shape = len(lengths), padded_length(max(lengths))
    outputs = []
    for name in (START_LOGITS, END_LOGITS):
        output = result.outputs.get(name)
        if output is None:
            raise ProtocolError(f"The server's answer has no output {name!r}.")
        if output.shape != shape:
            raise ProtocolError(
                f"The server's output {name!r} has the shape {output.shape}, not {shape}."
            )
        outputs.append(output)
    rows = [
        Logits(start[:length], end[:length])
        for start, end, length in zip(*outputs, lengths, strict=True)
    ]
    if not all(np.isfinite(row.start).all() and np.isfinite(row.end).all() for row in rows):
        raise ProtocolError("The server's logits are not all finite numbers.")
    return rows
