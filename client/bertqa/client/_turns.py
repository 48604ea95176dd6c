"""What one stream of questions does next, without any input or output."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bertqa.client._batcher import Outcome
from bertqa.client._concurrency import ConcurrencyLimit, Hold, Slot
from bertqa.client._deadline import too_late
from bertqa.client._effects import Compute, FetchMetadata, Request, Sleep
from bertqa.client._flights import Flight
from bertqa.client._model_registry import ModelSpec
from bertqa.client._pace import WorkPace, too_long
from bertqa.client._question import AnswerFlow, Question
from bertqa.client._refusals import Response
from bertqa.client._scheduler import Scheduler
from bertqa.errors import BertQAError


@dataclass(frozen=True, slots=True, eq=False)
class Sending:
    """A request to send now.

    Attributes:
        request: The request.
        deadline: When its result is too late, a time of `time.monotonic()`.
        hold: The slot that it has.
        flight: The flight to land with its result, where other streams may wait for it too.
    """

    request: Request
    deadline: float
    hold: Hold
    flight: Flight[ModelSpec] | None

    def until(self, timeout: float) -> float:
        """Return when a question gives up whose first failure is that of this request.

        The request itself may have waited for the server until now.

        Args:
            timeout: For how many seconds the question waits.
        """
        if self.hold.paused_at is not None:
            return self.hold.paused_at + timeout
        now = time.monotonic()
        return now + timeout if now < self.deadline else self.deadline

    def end(self) -> None:
        """Note that nothing waits for its result any more."""
        self.hold.release()
        if self.flight is not None:
            self.flight.land(None)


@dataclass(frozen=True, slots=True, eq=False)
class Computing:
    """Work on a long text to begin now.

    Attributes:
        computation: The work.
        deadline: When its result is too late, a time of `time.monotonic()`.
        pace: The pace to call it with.
    """

    computation: Compute
    deadline: float
    pace: WorkPace

    def run(self) -> object:
        """Return the result of the work, or the BertQAError that it ended with."""
        try:
            return self.computation.work(self.pace)
        except BertQAError as error:
            return error

    def end(self) -> None:
        """Note that nothing waits for its result any more."""
        self.pace.leave()


Turn = Sending | Computing


class Turns:
    """The turns of one stream: which request goes next, and what is waited for.

    A driver begins what `next` returns, waits for one of its ends, for a call of `wake`, or for
    `seconds` to pass, and notes what became of it with `receive` and `tick`.

    - A pause holds nothing.
    - The slot of the next request is waited for here. At most one is, so that streams take turns.
    - What another stream fetches already is waited for without a slot.

    Args:
        scheduler: A scheduler of this stream's own.
        limit: Grants the slots.
        wake: Called when something that is waited for is there, from any thread. It must not block.
        rest: Called from threads that work on long texts; it lets others have their turn.
        timeout: Seconds that each request may take, once it is sent.
        deadline: A time of `time.monotonic()` for all requests together, instead.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        limit: ConcurrencyLimit,
        wake: Callable[[], object],
        rest: Callable[[], object],
        *,
        timeout: float,
        deadline: float | None,
    ) -> None:
        self._rest = rest
        self._scheduler = scheduler
        self._limit = limit
        self._wake = wake
        self._timeout = timeout
        self._deadline = deadline
        self._exhausted = False
        # The request that is sent next, and its slot.
        self._next: Request | None = None
        self._slot: Slot | None = None
        self._under_way: set[Turn] = set()
        self._sleeping: dict[Sleep, float] = {}
        self._parked: dict[FetchMetadata, Flight[ModelSpec]] = {}
        self._fetch_until: dict[Request, float] = {}

    @property
    def wants_question(self) -> bool:
        """Whether to read one more question."""
        return not self._exhausted and self._scheduler.wants_more

    @property
    def is_over(self) -> bool:
        """Whether all questions have been returned by `outcomes`."""
        return self._exhausted and self._scheduler.is_empty

    @property
    def has_one_turn(self) -> bool:
        """Whether nothing but one turn is under way, and nothing else can begin meanwhile."""
        self._begin_pauses()
        return (
            self._exhausted
            and len(self._under_way) == 1
            and not (self._sleeping or self._parked or self._next)
            and not self._scheduler.has_request(last=True)
        )

    def add(self, started: tuple[Question, AnswerFlow] | None) -> None:
        """Add a question.

        Args:
            started: The question with its flow, which has not begun; None where none follows.
        """
        if started is None:
            self._exhausted = True
        else:
            self._scheduler.add(*started)

    def next(self) -> Turn | None:
        """Return what to begin now, None where nothing can be begun."""
        while True:
            self._settle_fetches()
            computation = self._scheduler.next_computation()
            if computation is not None:
                deadline = self._deadline or time.monotonic() + self._timeout
                pace = WorkPace(deadline, self._timeout, self._rest)
                return self._begun(Computing(computation, deadline, pace))
            if self._next is None:
                self._next = self._scheduler.next_request(last=self._exhausted)
            if self._next is None:
                return None
            if self._slot is not None and self._slot.version != self._next.version:
                self._release()
            if self._slot is None:
                self._slot = self._limit.request(self._wake, self._next.version)
            now = time.monotonic()
            deadline = self._until(self._next) or now + self._timeout
            is_late = now >= deadline
            if not (self._slot.is_held or is_late):
                return None
            request, self._next = self._next, None
            if is_late:
                self._receive(request, too_late(self._timeout), deadline)
                continue
            if not self._scheduler.is_wanted(request):
                continue
            flight = None
            if isinstance(request, FetchMetadata):
                flight = self._flight_of(request, deadline)
                if flight is None:
                    continue
            slot, self._slot = self._slot, None
            return self._begun(Sending(request, deadline, Hold(self._limit, slot), flight))

    def outcomes(self) -> list[tuple[Question, Outcome]]:
        """Return the questions that are answered, in order, with their answers or errors."""
        self._begin_pauses()
        outcomes = list(self._scheduler.ready())
        if outcomes or self._next is None:
            # While this stream is left it uses no slot, and others should not wait for one.
            self._release()
        return outcomes

    def seconds(self) -> float | None:
        """Return after how many seconds to look again, None where something else wakes it."""
        if self.wants_question:
            return 0.0
        ends = list(self._sleeping.values())
        ends += [turn.deadline for turn in self._under_way if isinstance(turn, Computing)]
        ends += [self._fetch_until[fetch] for fetch in self._parked]
        if self._slot is not None and self._next is not None:
            until = self._until(self._next)
            ends += [] if until is None else [until]
        if ends:
            return max(min(ends) - time.monotonic(), 0.0)
        return None if self._under_way or self._slot is not None else 0.0

    def receive(self, turn: Turn, result: object) -> None:
        """Take what a turn ended with.

        Args:
            turn: What `next` returned.
            result: The result, or the error.
        """
        if turn not in self._under_way:
            return
        self._under_way.remove(turn)
        if isinstance(turn, Computing):
            self._scheduler.computed(turn.computation, result)
        else:
            until = turn.until(self._timeout)
            self._receive(turn.request, result, until)  # type: ignore[arg-type]

    def tick(self) -> None:
        """Note what has come to its end by itself: pauses, and what is too late."""
        now = time.monotonic()
        for pause in [each for each, end in self._sleeping.items() if end <= now]:
            del self._sleeping[pause]
            self._scheduler.wake(pause)
        for fetch, flight in list(self._parked.items()):
            deadline = self._fetch_until[fetch]
            if flight.has_landed:
                del self._parked[fetch]
                outcome = flight.outcome(deadline)
                if outcome is None:
                    self._scheduler.put_back(fetch)
                else:
                    self._receive(fetch, outcome, deadline)
            elif deadline <= now:
                del self._parked[fetch]
                flight.leave(self._wake)
                self._receive(fetch, too_late(self._timeout), deadline)
        for turn in [each for each in self._under_way if isinstance(each, Computing)]:
            if turn.deadline <= now:
                turn.end()
                self.receive(turn, too_long(self._timeout))

    def close(self) -> None:
        """Wait no longer for anything; the driver ends what it has begun."""
        for flight in self._parked.values():
            flight.leave(self._wake)
        self._parked.clear()
        self._release()

    def _release(self) -> None:
        if self._slot is not None:
            self._limit.release(self._slot)
            self._slot = None

    def _begun(self, turn: Turn) -> Turn:
        self._under_way.add(turn)
        return turn

    def _begin_pauses(self) -> None:
        while (pause := self._scheduler.next_pause()) is not None:
            self._sleeping[pause] = time.monotonic() + pause.seconds

    def _until(self, request: Request) -> float | None:
        """Return when to give up a request that is not sent, None where nothing says so yet."""
        until = self._deadline or self._scheduler.until(request)
        return until or self._fetch_until.get(request)

    def _receive(self, request: Request, response: Response, until: float | None = None) -> None:
        # What waited for the fetch of another stream has waited since then.
        until = self._fetch_until.pop(request, until)
        self._scheduler.receive(request, response, until)

    def _settle_fetches(self) -> None:
        """Leave out fetches whose result is known, and park those that another stream makes."""
        left: list[FetchMetadata] = []
        while (fetch := self._scheduler.take_fetch()) is not None:
            if (spec := fetch.known()) is not None:
                self._receive(fetch, spec)
                continue
            flight = fetch.registry.flights.join(fetch.version, self._wake)
            if flight is None:
                left.append(fetch)
                continue
            self._parked[fetch] = flight
            self._fetch_until[fetch] = self._until(fetch) or time.monotonic() + self._timeout
        for fetch in left:
            self._scheduler.put_back(fetch)

    def _flight_of(self, fetch: FetchMetadata, deadline: float) -> Flight[ModelSpec] | None:
        """Return a flight for a fetch of this stream, None where there is no need for one now."""
        flight = fetch.registry.flights.begin(fetch.version, deadline)
        if flight is None:
            self._scheduler.put_back(fetch)
        elif (spec := fetch.known()) is not None:
            flight.land(spec)
            self._receive(fetch, spec)
            return None
        return flight
