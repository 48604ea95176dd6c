"""Answers many questions at a time, in order, without any input or output.

The scheduler takes courses (see `bertqa.asking`), hands out requests that gather the windows of
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

from bertqa import defaults
from bertqa.answer import Answer
from bertqa.asking import Course, NeedMetadata, NeedPause, Question, WindowResult
from bertqa.batching import padded_length, stack
from bertqa.decoding import Logits
from bertqa.errors import BertQAError, InvalidOptionError, ProtocolError
from bertqa.tokenization import Window
from bertqa.transport.base import (
    END_LOGITS,
    START_LOGITS,
    AsyncTransport,
    InferResult,
    ModelMetadata,
    Transport,
)

Outcome = list[Answer] | BertQAError
Response = ModelMetadata | InferResult | BertQAError | None


@dataclass(slots=True, eq=False)
class _Job:
    """A course on its way: `results` fills up with those of the windows that it asked for last."""

    question: Question
    course: Course
    number: int
    outcome: Outcome | None = None
    results: list[WindowResult | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    """A window, and where its result belongs."""

    job: _Job
    results: list[WindowResult | None]
    index: int
    window: Window
    version: int | None

    @property
    def wanted(self) -> bool:
        """Whether the course still waits for it."""
        return self.job.outcome is None and self.job.results is self.results


@dataclass(frozen=True, slots=True, eq=False)
class MetadataRequest:
    """Asks what a version is."""

    version: int | None
    name: ClassVar[str] = "metadata"

    @property
    def attributes(self) -> dict[str, int]:
        """Give what a trace tells of it."""
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
    places: list[_Place]
    name: ClassVar[str] = "infer"

    @property
    def attributes(self) -> dict[str, int]:
        """Give what a trace tells of it."""
        return {"windows": len(self.places), "tokens": sum(map(len, self._windows))}

    @property
    def _windows(self) -> list[Window]:
        return [place.window for place in self.places]

    def send(self, transport: Transport, timeout: float) -> InferResult:
        """Infer over a transport."""
        return transport.infer(stack(self._windows), version=self.version, timeout=timeout)

    async def send_async(self, transport: AsyncTransport, timeout: float) -> InferResult:
        """Infer over an asynchronous transport."""
        return await transport.infer(stack(self._windows), version=self.version, timeout=timeout)


@dataclass(frozen=True, slots=True, eq=False)
class PauseRequest:
    """Lets time pass for a question, as a request that nobody is sent."""

    job: _Job
    seconds: float
    name: ClassVar[str] = "pause"

    @property
    def attributes(self) -> dict[str, int]:
        """Give what a trace tells of it."""
        return {}

    def send(self, transport: Transport, timeout: float) -> None:
        """Wait."""
        time.sleep(min(self.seconds, timeout))

    async def send_async(self, transport: AsyncTransport, timeout: float) -> None:
        """Wait."""
        await asyncio.sleep(min(self.seconds, timeout))


Request = MetadataRequest | InferRequest | PauseRequest


class Scheduler:
    """Sorts windows by length within a look-ahead, and gives outcomes in the order of questions.

    `look_ahead` is in windows; three times that many may be under way before no more are wanted.
    `timeout`, in seconds, is that of a request: how many are sent at once grows while they take a
    small part of it, and shrinks when they take more, so that a slow server is not drowned.
    """

    def __init__(
        self,
        timeout: float = defaults.TIMEOUT_SECONDS,
        look_ahead: int = defaults.LOOK_AHEAD,
        token_budget: int = defaults.TOKEN_BUDGET,
    ) -> None:
        if look_ahead < 1:
            raise InvalidOptionError(f"look_ahead is {look_ahead}, but it has to be 1 or more.")
        self._soon = timeout * defaults.SOON_PART_OF_TIMEOUT
        self._at_once = defaults.REQUESTS_AT_FIRST
        self._sent: dict[Request, float] = {}
        self._look_ahead = look_ahead
        self._token_budget = token_budget
        self._jobs: deque[_Job] = deque()
        self._added = 0
        self._under_way = 0
        self._waiting: dict[int | None, list[_Job]] = {}
        self._unsorted: list[_Place] = []
        self._requests: deque[Request] = deque()

    @property
    def wants_more(self) -> bool:
        """Whether more questions would help to fill batches."""
        return len(self._unsorted) < self._look_ahead and self._under_way < 3 * self._look_ahead

    def add(self, question: Question, course: Course) -> None:
        """Take one more question, whose course has not begun."""
        job = _Job(question, course, self._added)
        self._added += 1
        self._under_way += 1
        self._jobs.append(job)
        self._advance(job, None)

    def next_request(self, *, last: bool) -> Request | None:
        """Give what to send next, if there is anything; `last` says that no question follows."""
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
        self._at_once = min(max(self._at_once + step, 1), defaults.REQUESTS_IN_FLIGHT)
        if isinstance(request, PauseRequest):
            self._advance(request.job, response)
        elif isinstance(request, MetadataRequest):
            for job in self._waiting.pop(request.version):
                self._advance(job, response)
        elif isinstance(response, InferResult):
            try:
                rows = rows_of(response, [place.window for place in request.places])
            except ProtocolError as error:
                self._fail(request, error)
                return
            for place, logits in zip(request.places, rows, strict=True):
                place.results[place.index] = WindowResult(logits, response.model_version)
                if place.wanted and None not in place.results:
                    self._advance(place.job, place.results)
        elif isinstance(response, BertQAError):
            self._fail(request, response)

    def ready(self) -> Iterator[tuple[Question, Outcome]]:
        """Give the questions whose turn it is and whose outcomes are there."""
        while self._jobs and (outcome := self._jobs[0].outcome) is not None:
            job = self._jobs.popleft()
            self._under_way -= max(len(job.results), 1)
            yield job.question, outcome

    def _fail(self, request: InferRequest, error: BertQAError) -> None:
        for place in request.places:
            if place.wanted:
                self._advance(place.job, error)

    def _advance(self, job: _Job, response: object) -> None:
        """Go on with a course until it needs something again, or is done."""
        try:
            if isinstance(response, BertQAError):
                need = job.course.throw(response)
            else:
                need = job.course.send(response)
        except StopIteration as stop:
            job.outcome = stop.value
            return
        except BertQAError as error:
            job.outcome = error
            return
        if isinstance(need, NeedMetadata):
            if need.version not in self._waiting:
                self._waiting[need.version] = []
                self._requests.append(MetadataRequest(need.version))
            self._waiting[need.version].append(job)
            return
        if isinstance(need, NeedPause):
            self._requests.append(PauseRequest(job, need.seconds))
            return
        self._under_way += len(need.windows) - max(len(job.results), 1)
        job.results = [None] * len(need.windows)
        self._unsorted += [
            _Place(job, job.results, index, window, need.version)
            for index, window in enumerate(need.windows)
        ]

    def _plan(self) -> None:
        """Make requests of the windows that have gathered, those of early questions first."""
        groups: dict[tuple[int | None, int], list[_Place]] = defaultdict(list)
        for place in self._unsorted:
            if place.wanted:
                groups[place.version, padded_length(len(place.window))].append(place)
        self._unsorted = []
        batches = [
            InferRequest(version, places[first : first + size])
            for (version, length), places in groups.items()
            for size in [max(self._token_budget // length, 1)]
            for first in range(0, len(places), size)
        ]
        batches.sort(key=lambda request: request.places[0].job.number)
        self._requests += batches


def rows_of(result: InferResult, windows: Sequence[Window]) -> list[Logits]:
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
