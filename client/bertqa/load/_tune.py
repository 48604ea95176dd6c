"""The fastest settings of a server and a client on a machine, found by measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

from bertqa import _defaults
from bertqa._words import counted
from bertqa.artifact import Topology, cpu_flags, own_precision, server_settings
from bertqa.errors import BertQAError
from bertqa.evaluation import Interval
from bertqa.load._compare import in_turn, ratio_of
from bertqa.load._measure import Objective, System
from bertqa.load._stage import Shape

_BUDGETS = (1024, _defaults.TOKEN_BUDGET, 4096, 8192)
_THREADS_PER_STREAM = 4
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
# The turns of one round of a race, shared by those that are left; finding a rate has many stages.
_TURNS, _SEARCHES = 8, 2
# An interval that is wider, as a share of the ratio, says that the machine did something else.
_WIDEST = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Settings that are tried.

    Attributes:
        version: The version that answers.
        threads: Threads of inference (INFERENCE_NUM_THREADS).
        streams: Requests that are computed at once (NUM_STREAMS).
        precision: What floating-point operations run in (INFERENCE_PRECISION_HINT).
        token_budget: Tokens that the client puts into one request.
    """

    version: int
    threads: int
    streams: int
    precision: str
    token_budget: int = _defaults.TOKEN_BUDGET

    @classmethod
    def default(cls, version: int, topology: Topology) -> Candidate:
        """Return what a server and a client have without settings.

        Args:
            version: The version.
            topology: What the server may use.
        """
        settings = server_settings(topology.threads)
        return cls(
            version=version,
            threads=settings.threads,
            streams=settings.streams,
            precision=_precisions()[0],
        )

    @property
    def server(self) -> Candidate:
        """The same for each that a server of the same settings can serve."""
        return replace(self, token_budget=_defaults.TOKEN_BUDGET)

    def __str__(self) -> str:
        parts = [
            f"version {self.version}",
            counted(self.threads, "thread"),
            counted(self.streams, "stream"),
            self.precision,
            counted(self.token_budget, "token"),
        ]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be as high as it can be.

    Attributes:
        at_once: Questions per second with so many on their way at once.
        objective: In its place the highest rate at which this is kept.
    """

    at_once: int = 16
    objective: Objective | None = None

    def __str__(self) -> str:
        if self.objective is None:
            return f"questions per second, {self.at_once} at once"
        limit = self.objective.milliseconds
        return f"the highest rate at which 99 % take {limit:g} ms or less"

    def of(self, system: System) -> float:
        """Return how high it is; 0 where a question was not answered.

        Args:
            system: What is asked.
        """
        if self.objective is not None:
            return system.find_rate(self.objective).rate
        stage = system.stage(Shape(at_once=self.at_once))
        return 0.0 if stage.errors else stage.questions_per_second


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a candidate in one race.

    Attributes:
        candidate: The candidate.
        figures: What it reached, turn by turn.
    """

    candidate: Candidate
    figures: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """What it reached in the mean."""
        return fmean(self.figures)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was found.

    Attributes:
        default: The settings without any.
        present: Those that the repository has, where they are others.
        best: The settings that won.
        ratio: What they reach divided by what the default reaches, with its 95 % interval, from
            turns that did not decide who won; None where the default won.
        rounds: Both figures of each of these turns.
        races: The trials of each race, the best first.
    """

    default: Candidate
    present: Candidate | None
    best: Candidate
    ratio: Interval | None
    rounds: Sequence[tuple[float, float]]
    races: Sequence[Sequence[Trial]]

    @property
    def is_decided(self) -> bool:
        """Whether the interval of the ratio is at most a fifth of it."""
        ratio = self.ratio
        return ratio is None or ratio.high - ratio.low <= _WIDEST * ratio.estimate

    @property
    def is_better(self) -> bool:
        """Whether it is decided, and the best is better than the default beyond chance."""
        return self.is_decided and self.ratio is not None and self.ratio.low > 1

    @property
    def chosen(self) -> Candidate:
        """The best where it is better beyond chance, else the default."""
        return self.best if self.is_better else self.default

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        ratio = self.ratio
        return {
            "default": asdict(self.default),
            "present": None if self.present is None else asdict(self.present),
            "best": asdict(self.best),
            "is_decided": self.is_decided,
            "is_better": self.is_better,
            "chosen": asdict(self.chosen),
            "ratio": None
            if ratio is None
            else {"estimate": ratio.estimate, "low": ratio.low, "high": ratio.high},
            "rounds": [list(each) for each in self.rounds],
            "races": [
                [{"settings": asdict(each.candidate), "figures": each.figures} for each in race]
                for race in self.races
            ],
        }


Laboratory = Callable[[Sequence[Candidate]], AbstractContextManager[Sequence[System]]]
"""Runs a system for each of the candidates, all at once, while its block runs."""


def tune(
    default: Candidate,
    versions: Sequence[int],
    topology: Topology,
    laboratory: Laboratory,
    goal: Goal,
    rounds: int,
    *,
    present: Candidate | None = None,
    on_turn: Callable[[str], None] = lambda _: None,
) -> Tuning:
    """Find the fastest settings, and how much faster than the default they are.

    What is decided together races together: version with precision, then threads with streams,
    then the client's tokens in a request, each with what won before. In a race all have as many
    turns, and the worse half drops out, until one is left (successive halving).

    Args:
        default: The settings without any.
        versions: The versions to choose from.
        topology: What the server may use.
        laboratory: Runs candidates.
        goal: What is to be as high as it can be.
        rounds: How often the best and the default have their turns in the end.
        present: Settings that the repository has, which race with threads and streams.
        on_turn: Called as each race and each turn begins, with which one it is and about how
            long is left.

    Returns:
        The settings.

    Raises:
        BertQAError: A server does not start or answer, or the default does not reach the goal.
    """
    best, races = default, []
    stages = _computed(versions), [*_placed(topology), *_as(present)], _sent()
    tried = [each for each in stages if len(each) > 1]
    turns = _Turns(goal, sum(_turns_of(len(each), goal) for each in tried) + 2 * rounds, on_turn)
    for number, changes in enumerate(tried, 1):
        candidates = list(dict.fromkeys(replace(best, **change) for change in changes))
        if len(candidates) > 1:
            turns.begin(f"race {number} of {len(tried)}", _turns_of(len(candidates), goal))
            races.append(_race(candidates, laboratory, turns))
            best = races[-1][0].candidate
    if best == default:
        return Tuning(default, present, best, None, [], races)
    turns.begin("the best against the default", 2 * rounds)
    with laboratory([default, best]) as (first, second):
        found = in_turn(lambda: turns.of(first), lambda: turns.of(second), rounds)
    if not all(min(each) for each in found):
        raise BertQAError(
            f"{default} does not reach {goal}, or questions were not answered: nothing can be "
            "compared. A longer --p99, fewer --at-once or a longer --duration may help."
        )
    return Tuning(default, present, best, ratio_of(found), found, races)


def _computed(versions: Sequence[int]) -> list[dict[str, Any]]:
    return [{"version": each, "precision": one} for each in versions for one in _precisions()]


def _precisions() -> Sequence[str]:
    """Return the precisions that the CPU has, first the one that a server here has by itself."""
    if not _BF16_FLAGS & cpu_flags():
        return ("f32",)
    return ("f32", "bf16") if own_precision() else ("bf16", "f32")


def _placed(topology: Topology) -> list[dict[str, Any]]:
    """Threads for cores and for hardware threads, in streams of all, of a node, of 4 and of 1."""
    return [
        {"threads": threads, "streams": streams}
        for threads in sorted({topology.cores, topology.threads})
        for streams in sorted({1, 2, topology.nodes, threads // _THREADS_PER_STREAM, threads})
        if 1 <= streams <= threads
    ]


def _as(present: Candidate | None) -> list[dict[str, Any]]:
    if present is None:
        return []
    names = ("threads", "streams", "precision")
    return [{name: getattr(present, name) for name in names}]


def _sent() -> list[dict[str, Any]]:
    return [{"token_budget": each} for each in _BUDGETS]


class _Turns:
    """Counts turns, and says before each which one it is."""

    def __init__(self, goal: Goal, planned: int, on_turn: Callable[[str], None]) -> None:
        self.goal = goal
        self._left, self._on_turn = planned, on_turn
        self._began, self._ended = time.monotonic(), 0
        self._race, self._turn, self._count = "", 0, 0

    def begin(self, race: str, count: int) -> None:
        self._race, self._turn, self._count = race, 0, count
        self._on_turn(race)

    def of(self, system: System) -> float:
        self._turn += 1
        words = f"{self._race}, turn {self._turn} of {self._count}"
        if self._ended:
            each = (time.monotonic() - self._began) / self._ended
            minutes = math.ceil(self._left * each / 60)
            words += f", about {minutes} min left"
        self._on_turn(words)
        reached = self.goal.of(system)
        self._ended, self._left = self._ended + 1, self._left - 1
        return reached


def _rounds_of(count: int, goal: Goal) -> int:
    """Return how many turns each has where so many are left in a race."""
    return max(1, (_TURNS if goal.objective is None else _SEARCHES) // count)


def _turns_of(count: int, goal: Goal) -> int:
    """Return how many turns a race of so many has."""
    turns = 0
    while count > 1:
        turns += _rounds_of(count, goal) * count
        count = (count + 1) // 2
    return turns


def _race(candidates: Sequence[Candidate], laboratory: Laboratory, turns: _Turns) -> list[Trial]:
    """Return the trials, the best first."""
    trials = [Trial(each) for each in candidates]
    with laboratory(candidates) as systems:
        left = list(zip(trials, systems, strict=True))
        while len(left) > 1:
            for turn in range(_rounds_of(len(left), turns.goal)):
                for trial, system in left if turn % 2 == 0 else reversed(left):
                    trial.figures.append(turns.of(system))
            left.sort(key=lambda each: each[0].mean, reverse=True)
            left = left[: (len(left) + 1) // 2]
    return _ranked(trials)


def _ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return trials by how long they stayed, and then by what they reached."""
    return sorted(trials, key=lambda each: (len(each.figures), each.mean), reverse=True)
