"""Stages of load on one system, and the highest rate at which it keeps its promise."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.load._process import Asker, Part, askers
from bertqa.load._server import watching
from bertqa.load._stage import Counted, Shape, Stage, new_histogram
from bertqa.load._target import Pair, Target

# The processes get their parts before the first question.
_LEAD_SECONDS = 0.2
_CAPACITY_AT_ONCE = 32
# A rate is found to this part of itself.
_PRECISION = 0.05
_JUDGED_QUESTIONS = 300
_LONGEST = 10
_INSTANT = 1e-3


@dataclass(frozen=True, slots=True)
class LoadTest:
    """How long a stage is, and what is asked.

    Attributes:
        pairs: The questions with their contexts, in this order, again and again.
        seconds: How long a stage is, the warm-up left out; recorded requests last as long as they
            did.
        warm_up: For how many seconds it is not counted before.
        processes: How many processes ask; None for as many as it takes, up to the cores.
        seed: What random times begin with.
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

    def is_met_by(self, stage: Stage) -> bool:
        """Return whether a stage keeps it, without an error.

        Args:
            stage: The stage.
        """
        taken = stage.quantile_ms(self.percent)
        return not stage.errors and taken is not None and taken <= self.milliseconds


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

    def stage(self, shape: Shape, seconds: float | None = None) -> Stage:
        """Run a stage; again with more processes where those that ask were the limit.

        Args:
            shape: How questions come.
            seconds: How long it lasts, where that is not the test's.

        Returns:
            What came of it.

        Raises:
            BertQAError: A process has ended.
        """
        self._again = ""
        while True:
            stage = self._run(shape, seconds or self._test.seconds)
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

    def find_rate(self, objective: Objective) -> tuple[float, list[Stage]]:
        """Find the highest rate of questions at which an objective is met, by bisection.

        Args:
            objective: What is promised.

        Returns:
            The rate in questions per second, which is not above what the server answers at most
            with 32 at once, and the stages. It is 0 where not even a twentieth of
            what the server answers at most keeps the objective. A stage lasts until some 300
            questions came, but ten times as long as others at most; one that misses the objective
            although half of its answers keep it is run once more, as chance may have been it.

        Raises:
            BertQAError: A process has ended.
        """
        capacity = self.stage(Shape(at_once=_CAPACITY_AT_ONCE))
        stages = [capacity]
        # A stage may be too short for a queue that grows at a higher rate to be seen.
        low, high = 0.0, capacity.questions_per_second
        rate = 0.7 * capacity.questions_per_second
        least = _PRECISION * capacity.questions_per_second
        while high > least and high - low > _PRECISION * high:
            rate = round(rate, 2 if rate < 10 else 1)
            if self._keeps(objective, rate, stages):
                low = rate
            else:
                high = rate
            rate = (low + high) / 2
        return low, stages

    def _keeps(self, objective: Objective, rate: float, stages: list[Stage]) -> bool:
        """Return whether an objective is met at a rate, and add the stages that show it."""
        usual = self._test.seconds
        seconds = max(usual, min(_JUDGED_QUESTIONS / rate, _LONGEST * usual))
        for _ in range(2):
            stage = self.stage(Shape(rate=rate), seconds)
            stages.append(stage)
            median = stage.quantile_ms(50)
            if objective.is_met_by(stage):
                return True
            if stage.errors or median is None or median > objective.milliseconds:
                return False
        return False

    def _start(self, count: int) -> None:
        self._opened.close()
        self._askers = self._opened.enter_context(askers(self.target, self._test.pairs, count))

    def _run(self, shape: Shape, seconds: float) -> Stage:
        test, asking = self._test, self._askers[: shape.at_once]
        count = len(asking)
        if shape.arrivals is not None:
            seconds = shape.arrivals.times[-1]
        begin = time.monotonic() + _LEAD_SECONDS
        with watching(self.target.address) as usage:
            for number, each in enumerate(asking):
                seed = test.seed * 1_000 + number
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
