"""The processes that ask: each has a client of its own, and its part of the questions."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from bertqa.errors import BertQAError
from bertqa.load._stage import Counted, Shape, new_histogram, record
from bertqa.load._target import Ask, Pair, RefusedError, Target

_START_SECONDS = 120.0
_END_SECONDS = 2.0
_IN_FLIGHT = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """A process's part of a stage.

    Attributes:
        shape: How its questions come.
        begin: When the first comes, on the monotonic clock.
        warm_up: For how many seconds nothing is counted.
        seconds: For how many seconds questions come after that.
        seed: What its random times and its questions begin with; they are drawn at random, as
            LoadGen draws its samples: evenly, each time of all.
        first: Where among those of recorded requests it begins.
        step: How far it moves among these each time.
    """

    shape: Shape
    begin: float
    warm_up: float
    seconds: float
    seed: int
    first: int
    step: int


@dataclass(frozen=True, slots=True)
class _Ready:
    version: int | None


class Asker:
    """One process.

    Args:
        target: What it asks.
        pairs: The questions with their contexts.
    """

    def __init__(self, target: Target, pairs: Sequence[Pair]) -> None:
        spawning = multiprocessing.get_context("spawn")
        self.version: int | None = None
        self._here, there = spawning.Pipe()
        self._process = spawning.Process(target=_run, args=(there, target, pairs), daemon=True)
        self._process.start()
        there.close()

    def wait_until_ready(self) -> None:
        """Wait until it has asked a first question, and note the version that answered.

        Raises:
            BertQAError: It has no answer.
        """
        found = self._receive(_START_SECONDS)
        assert isinstance(found, _Ready)
        self.version = found.version

    def begin(self, part: Part) -> None:
        """Have it ask.

        Args:
            part: Its part of a stage.
        """
        with contextlib.suppress(OSError):  # It has ended: `counted` says so.
            self._here.send(part)

    def has_counted(self, seconds: float) -> bool:
        """Return whether its part of a stage is over.

        Args:
            seconds: How long to wait for that.
        """
        return self._here.poll(seconds)

    def counted(self) -> Counted:
        """Return what it counted.

        Raises:
            BertQAError: It is not done, or has ended.
        """
        found = self._receive(0.0)
        assert isinstance(found, Counted)
        return found

    def leave(self) -> None:
        """Let it end by itself."""
        self._here.close()

    def end(self, seconds: float) -> None:
        """End it.

        Args:
            seconds: How long it may take by itself.
        """
        self._process.join(seconds)
        self._process.kill()
        self._process.join()

    def _receive(self, seconds: float) -> object:
        try:
            found: object = self._here.recv() if self._here.poll(seconds) else None
        except (EOFError, OSError):
            found = None
        if isinstance(found, BertQAError):
            raise found
        if found is None:
            raise BertQAError("A process that asks has ended, or does not answer in time.")
        return found


@contextmanager
def askers(target: Target, pairs: Sequence[Pair], count: int) -> Iterator[list[Asker]]:
    """Start processes, which end with the block.

    Args:
        target: What they ask.
        pairs: The questions with their contexts.
        count: How many.

    Yields:
        The processes, each of which has asked a first question.

    Raises:
        BertQAError: One has no answer.
    """
    started = [Asker(target, pairs) for _ in range(count)]
    try:
        for each in started:
            each.wait_until_ready()
        yield started
    finally:
        for each in started:
            each.leave()
        give_up = time.monotonic() + _END_SECONDS
        for each in started:
            each.end(max(0.0, give_up - time.monotonic()))


def _run(pipe: Connection, target: Target, pairs: Sequence[Pair]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this.
    asyncio.run(_serve(pipe, target, pairs))


async def _serve(pipe: Connection, target: Target, pairs: Sequence[Pair]) -> None:
    try:
        async with target.opened(_IN_FLIGHT) as ask:
            pipe.send(_Ready(await ask(pairs[0])))
            while True:
                part = await asyncio.to_thread(pipe.recv)
                pipe.send(await PartUnderWay(ask, pairs, part).run())
    except (EOFError, ConnectionError):
        pass  # The parent has what it wants, or is gone.
    except BertQAError as error:
        pipe.send(error)
    except Exception as error:  # Of a user's token, say.
        pipe.send(BertQAError(f"Asking failed with {type(error).__name__}: {error}"))


class PartUnderWay:
    """A process's part of a stage under way.

    Args:
        ask: Asks one question.
        pairs: The questions with their contexts.
        part: The part.
    """

    def __init__(self, ask: Ask, pairs: Sequence[Pair], part: Part) -> None:
        self._ask, self._pairs, self._part = ask, pairs, part
        self._latencies, self._late = new_histogram(), new_histogram()
        self._counted_from = part.begin + part.warm_up
        self._end = self._counted_from + part.seconds
        self._errors: Counter[str] = Counter()
        self._asked = self._came = 0
        self._ended = self._counted_from
        self._next = part.first
        self._drawn = np.random.default_rng([part.seed, 1])

    async def run(self) -> Counted:
        """Ask, and return what was counted."""
        await asyncio.sleep(max(0.0, self._part.begin - time.monotonic()))
        busy, begun = time.process_time(), time.monotonic()
        if self._part.shape.is_open:
            await self._at_times()
        else:
            assert self._part.shape.at_once is not None
            await asyncio.gather(
                *(self._one_after_the_other() for _ in range(self._part.shape.at_once))
            )
        return Counted(
            self._latencies.encode(),
            self._late.encode(),
            self._asked,
            self._came,
            self._errors,
            self._ended,
            time.process_time() - busy,
            # A process without a question in the stage waited for its end too.
            max(time.monotonic(), self._end) - begun,
        )

    async def _at_times(self) -> None:
        """Ask at the times of arrival, however long the answers take."""
        async with asyncio.TaskGroup() as under_way:
            for at in self._arrivals():
                # Also where it is late: answers have to be taken.
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                under_way.create_task(self._one(at, self._pair()))

    def _arrivals(self) -> Iterator[float]:
        """Yield the times of a Poisson process; recorded ones after a warm-up at their rate."""
        part, recorded = self._part, self._part.shape.arrivals
        if recorded is None:
            assert part.shape.rate is not None
            yield from self._random_times(part.shape.rate, self._end)
            return
        if len(recorded.times) > 1:
            yield from self._random_times(recorded.rate, self._counted_from)
        self._next = part.first
        for after in recorded.times:
            yield self._counted_from + after

    def _random_times(self, rate: float, end: float) -> Iterator[float]:
        random = np.random.default_rng(self._part.seed)
        at = self._part.begin
        while (at := at + float(random.exponential(1 / rate))) < end:
            yield at

    async def _one_after_the_other(self) -> None:
        while (now := time.monotonic()) < self._end:
            await self._one(now, self._pair())

    def _pair(self) -> Pair:
        if self._part.shape.arrivals is None:
            return self._pairs[int(self._drawn.integers(len(self._pairs)))]
        pair = self._pairs[self._next % len(self._pairs)]
        self._next += self._part.step
        return pair

    async def _one(self, wanted: float, pair: Pair) -> None:
        """Ask one question that was to be asked at a time."""
        late = time.monotonic() - wanted
        problem = ""
        try:
            await self._ask(pair)
        except Exception as error:  # Whatever it is, the other questions go on.
            name = type(error).__name__
            problem = (error.detail or name) if isinstance(error, RefusedError) else name
        ended = time.monotonic()
        if not problem and self._counted_from <= ended <= self._end:
            self._came += 1
        if wanted < self._counted_from:
            return
        self._asked += 1
        record(self._late, late)
        self._ended = max(self._ended, ended)
        if problem:
            self._errors[problem] += 1
        else:
            record(self._latencies, ended - wanted)
