"""Stages of load on one system, and the highest rate at which it keeps its promise."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.load._early_stopping import CONFIDENCE, is_kept, questions_needed
from bertqa.load._process import Asker, Part, askers
from bertqa.load._server import watching
from bertqa.load._stage import Counted, Shape, Stage, new_histogram
from bertqa.load._target import Pair, Target

# The processes get their parts before the first question.
_LEAD_SECONDS = 0.2
_CAPACITY_AT_ONCE = 32
# A rate is found to this part of itself.
_PRECISION = 0.05
# A rate that so many slow answers, or so many times the usual time, do not decide is too high.
_MOST_OVER = 10
_LONGEST = 10
# How many come at random times is not exact.
_MARGIN = 1.1
_INSTANT = 1e-3


@dataclass(frozen=True, slots=True)
class LoadTest:
    """How long a stage is, and what is asked.

    Attributes:
        pairs: The questions with their contexts, of which each is drawn at random; those of
            recorded requests in their order.
        seconds: How long a stage is, the warm-up left out; recorded requests last as long as they
            did.
        warm_up: For how many seconds it is not counted before.
        processes: How many processes ask; None for as many as it takes, up to the cores.
        seed: What random times and the draw of the questions begin with.
    """

    pairs: Sequence[Pair]
    seconds: float = 30.0
    warm_up: float = 3.0
    processes: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Objective:
    """What a server promises.

    Attributes:
        percent: Of how many percent of the questions.
        milliseconds: How long those take at most.
    """

    percent: float = 99.0
    milliseconds: float = 100.0

    @property
    def least_questions(self) -> int:
        """How many questions show that it is kept, at least."""
        return questions_needed(0, self.percent)


@dataclass(frozen=True, slots=True)
class RateFound:
    """The highest rate at which an objective is kept.

    Attributes:
        objective: The objective.
        rate: Questions per second; 0 where there is none.
        asked: How many questions show that it is kept.
        over: How many of them took longer.
        least: The lowest rate that may be found: at a lower one too few questions come in ten
            times the test's seconds, or it is below a twentieth of what the server answers at most.
        stages: The stages.
    """

    objective: Objective
    rate: float
    asked: int
    over: int
    least: float
    stages: Sequence[Stage]

    def __str__(self) -> str:
        percent, limit = f"{self.objective.percent:g} %", f"{self.objective.milliseconds:g} ms"
        if self.rate:
            return (
                f"Up to {self.rate:g} questions per second, {percent} take {limit} or less, "
                f"without an error ({CONFIDENCE:.0%} sure: of {self.asked:,} {self.over} took "
                "longer)"
            )
        if not self.stages[0].answered:
            return "No question was answered."
        if len(self.stages) > 1:
            missed = (
                f"At no rate from {self.least:g} per second did {percent} take {limit} or less."
            )
            if self.least <= _rounded(_PRECISION * self.stages[0].questions_per_second):
                return missed
            return (
                f"{missed} Lower ones were not tried: too few questions come in ten times "
                "--duration. Make it longer."
            )
        return (
            f"No rate was tried: to be sure of {percent} takes {self.objective.least_questions} "
            f"questions, and the server answers {self.stages[0].questions_per_second:.3g} per "
            "second at most, so that they do not come in ten times --duration. Make it longer."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, without the stages."""
        return {
            "p99_ms": self.objective.milliseconds,
            "questions_per_second": self.rate,
            "asked": self.asked,
            "slower": self.over,
            "confidence": CONFIDENCE,
            "lowest_rate": self.least,
        }


class System:
    """What is asked, by processes that stay from stage to stage.

    Args:
        target: What is asked.
        test: How.
        on_progress: Called as stages end.
    """

    def __init__(self, target: Target, test: LoadTest, on_progress: OnProgress = ignore) -> None:
        self.target = target
        self._test = test
        self._on_progress = on_progress
        self._askers: list[Asker] = []
        self._opened = ExitStack()
        self._again = ""

    @classmethod
    @contextmanager
    def opened(
        cls, target: Target, test: LoadTest, on_progress: OnProgress = ignore
    ) -> Iterator[System]:
        """Start the processes, which end with the block.

        Args:
            target: What is asked.
            test: How.
            on_progress: Called as stages end.

        Yields:
            The system.

        Raises:
            BertQAError: A first question is not answered.
        """
        system = cls(target, test, on_progress)
        try:
            system._start(test.processes or 1)
            yield system
        finally:
            system._opened.close()

    def stage(self, shape: Shape, seconds: float | None = None, turn: int = 0) -> Stage:
        """Run a stage; again with more processes where those that ask were the limit.

        Args:
            shape: How questions come.
            seconds: How long it lasts, where that is not the test's.
            turn: How often questions came so before; each time they come at other random times.

        Returns:
            What came of it.

        Raises:
            BertQAError: A process has ended.
        """
        self._again = ""
        while True:
            stage = self._run(shape, seconds or self._test.seconds, turn)
            most = min(filter(None, (os.cpu_count() or 1, shape.at_once)))
            count = len(self._askers)
            is_all = self._test.processes is not None or count >= most
            # Refused at once and asked again at once: no limit that more processes would lift.
            if is_all or stage.errors or not stage.is_limited_by_client:
                return stage
            self._start(min(2 * count, most))
            self._again = f", again with {len(self._askers)} processes"

    @property
    def version(self) -> int | None:
        """The version that answered the first question, as far as the server says so."""
        return self._askers[0].version

    def find_rate(self, objective: Objective) -> RateFound:
        """Find the highest rate of questions at which an objective is kept, by bisection.

        At each rate, questions are asked until it is sure, to 99 %, that the objective is kept or
        that it is not (see `is_kept`). It counts as missed where that takes more than ten slow
        answers or more than ten times the test's seconds, and where a question is not answered. A
        rate that is missed by the slowest questions alone is judged once more, by other questions.

        Args:
            objective: What is promised.

        Returns:
            The rate, which is not above what the server answers at most with 32 at once.

        Raises:
            BertQAError: A process has ended.
        """
        capacity = self.stage(Shape(at_once=_CAPACITY_AT_ONCE))
        stages = [capacity]
        # A stage may be too short for a queue that grows at a higher rate to be seen.
        low, high = 0.0, capacity.questions_per_second
        rate = 0.7 * high
        longest = _LONGEST * self._test.seconds
        least = _MARGIN * objective.least_questions / longest
        least = _rounded(max(_PRECISION * high, least))
        asked = over = 0
        while high > least and high - low > _PRECISION * high:
            rate = max(_rounded(rate), least)
            found = self._judged(objective, rate, stages)
            if found.is_kept:
                low, asked, over = rate, found.asked, found.over
            else:
                high = rate
            rate = (low + high) / 2
        return RateFound(objective, low, asked, over, least, stages)

    def _judged(self, objective: Objective, rate: float, stages: list[Stage]) -> _Judged:
        """Return what is found at a rate, and add the stages that show it."""
        turns = itertools.count()
        found = self._asked_until_sure(objective, rate, turns, stages)
        if not found.is_kept and not found.is_far_off:
            # What else the machine did may have been it, for a moment.
            found = self._asked_until_sure(objective, rate, turns, stages)
        return found

    def _asked_until_sure(
        self, objective: Objective, rate: float, turns: Iterator[int], stages: list[Stage]
    ) -> _Judged:
        found = _Judged(objective)
        usual = seconds = self._test.seconds
        left = _LONGEST * usual
        while found.is_kept is None and found.over <= _MOST_OVER and seconds <= left:
            stage = self.stage(Shape(rate=rate), seconds, next(turns))
            stages.append(stage)
            found.add(stage)
            left -= seconds
            seconds = max(usual, min(_MARGIN * found.missing / rate, left))
        return found

    def _start(self, count: int) -> None:
        self._opened.close()
        self._askers = self._opened.enter_context(askers(self.target, self._test.pairs, count))

    def _run(self, shape: Shape, seconds: float, turn: int) -> Stage:
        test, asking = self._test, self._askers[: shape.at_once]
        count = len(asking)
        if shape.arrivals is not None:
            seconds = shape.arrivals.times[-1]
        begin = time.monotonic() + _LEAD_SECONDS
        with watching(self.target.address) as usage:
            for number, each in enumerate(asking):
                seed = (test.seed + turn) * 1_000 + number
                own = shape.part(number, count)
                each.begin(Part(own, begin, test.warm_up, seconds, seed, number, count))
            name = f"Asking {self.target.title}, {shape}{self._again}"
            whole = round(test.warm_up + seconds)
            timeout = float(self.target.arguments["timeout"]) or 0.0
            give_up = begin + test.warm_up + seconds + 2 * timeout + 30.0
            found: list[Counted] = []
            for each in asking:
                while not each.has_counted(1.0) and time.monotonic() < give_up:
                    passed = min(whole, round(time.monotonic() - begin))
                    self._on_progress(Progress(name, passed, whole, "seconds"))
                found.append(each.counted())
            self._on_progress(Progress(name, whole, whole, "seconds"))
        stage = _merged(shape, seconds, begin + test.warm_up, found)
        return replace(stage, server_cores=usage.cores, server_bytes=usage.most_bytes)


class _Judged:
    """What stages at one rate say about an objective."""

    def __init__(self, objective: Objective) -> None:
        self.asked = self.over = 0
        self._objective = objective
        self._has_errors = False

    def add(self, stage: Stage) -> None:
        self.asked += stage.asked
        self.over += stage.slower_than(self._objective.milliseconds)
        self._has_errors |= bool(stage.errors)

    @property
    def is_kept(self) -> bool | None:
        if self._has_errors:
            return False
        return is_kept(self.asked, self.over, self._objective.percent)

    @property
    def is_far_off(self) -> bool:
        """Whether it is not the slowest questions alone that miss it."""
        return self._has_errors or 2 * self.over > self.asked

    @property
    def missing(self) -> int:
        """How many more questions show that it is kept, if none of them takes longer."""
        return questions_needed(self.over, self._objective.percent) - self.asked


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def _merged(shape: Shape, seconds: float, counted_from: float, found: Sequence[Counted]) -> Stage:
    latencies, late = new_histogram(), new_histogram()
    errors: Counter[str] = Counter()
    for each in found:
        latencies.decode_and_add(each.latencies)
        late.decode_and_add(each.late)
        errors += each.errors
    lasted = max(seconds, max(each.ended for each in found) - counted_from, _INSTANT)
    answered = latencies.get_total_count()
    came = sum(each.came for each in found)
    if came and not shape.is_open:  # To the last answer, not all that ask were still asking.
        answered, lasted = came, seconds
    return Stage(
        shape=shape,
        seconds=seconds,
        asked=sum(each.asked for each in found),
        errors=dict(errors),
        questions_per_second=answered / lasted,
        encoded=latencies.encode().decode(),
        late_p99_ms=late.get_value_at_percentile(99) / 1000,
        processes=len(found),
        client_share=max(each.busy / each.wall for each in found),
    )
