"""A fleet under load, and what its questions took."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from simpy import Environment

from bertqa import _defaults
from tools.fleet.balancing import POLICIES
from tools.fleet.model import Client, Question, Replica, Work, after

Floats = NDArray[np.float64]
_DRAWN = 10_000
# An HTTP API's pod passes on some hundreds of questions a second: docs/scaling.md.
QUESTIONS_OF_A_CLIENT = 250.0


@dataclass(frozen=True)
class Service:
    """What a question costs.

    Attributes:
        quantiles: The seconds that it has a stream, from the 0th to the 100th percentile in equal
            steps.
        rest: What it takes besides, in seconds: the client, the wire.
    """

    quantiles: tuple[float, ...]
    rest: float = 0.0

    @classmethod
    def constant(cls, seconds: float) -> Service:
        """Return a service that takes always the same time.

        Args:
            seconds: The time.
        """
        return cls((seconds, seconds))

    @cached_property
    def mean(self) -> float:
        """The mean of the seconds that a question has a stream."""
        found = np.asarray(self.quantiles)
        return float(((found[1:] + found[:-1]) / 2).mean())

    def scaled_to(self, mean: float) -> Service:
        """Return the same distribution with another mean.

        Args:
            mean: The mean, in seconds.
        """
        return Service(tuple(each * mean / self.mean for each in self.quantiles), self.rest)

    def quantile_ms(self, percent: float) -> float:
        """Return what so many percent of the questions do not exceed alone, in milliseconds.

        Args:
            percent: From 0 to 100.
        """
        return 1000 * (float(np.percentile(self.quantiles, percent)) + self.rest)

    def draw(self, chance: np.random.Generator, count: int) -> Floats:
        """Return so many times of service, in seconds, shape [count].

        Args:
            chance: What decides.
            count: How many.
        """
        steps = np.linspace(0.0, 1.0, len(self.quantiles))
        found: Floats = np.interp(chance.random(count), steps, np.asarray(self.quantiles))
        return found


@dataclass(frozen=True)
class Exponential(Service):
    """A service of exponential times, to compare with theory."""

    quantiles: tuple[float, ...] = field(default=(1.0, 1.0))

    def draw(self, chance: np.random.Generator, count: int) -> Floats:
        """Return so many times of service; see `Service`."""
        return chance.exponential(self.mean, count)


@dataclass(frozen=True)
class Outcome:
    """What a fleet's questions took.

    Attributes:
        arrived: When each came, in seconds.
        latencies: What each took, in seconds, in the same order.
        asked: How many came.
    """

    arrived: Floats
    latencies: Floats
    asked: int

    def between(self, start: float, end: float) -> Outcome:
        """Return what came of the questions that arrived in a time.

        Args:
            start: From when, in seconds.
            end: Until when.
        """
        chosen = (self.arrived >= start) & (self.arrived < end)
        return Outcome(self.arrived[chosen], self.latencies[chosen], int(chosen.sum()))

    def quantile_ms(self, percent: float) -> float:
        """Return the latency that so many percent do not exceed, in milliseconds.

        Args:
            percent: From 0 to 100.
        """
        return 1000 * float(np.percentile(self.latencies, percent))

    @property
    def mean(self) -> float:
        """The mean latency in seconds."""
        return float(self.latencies.mean())

    def late_share(self, milliseconds: float) -> float:
        """Return which part of the questions took longer.

        Args:
            milliseconds: Than this.
        """
        return float((1000 * self.latencies > milliseconds).mean())

    def p99_over_time(self, step: float, end: float) -> list[tuple[float, float]]:
        """Return the 99th percentile of each time step, as (its end in seconds, milliseconds).

        Args:
            step: How long a step is, in seconds.
            end: Until when.
        """
        parts = [(at, self.between(at - step, at)) for at in np.arange(step, end + step / 2, step)]
        return [(float(at), part.quantile_ms(99)) for at, part in parts if part.asked]


class Fleet:
    """Clients, replicas, and the questions that come.

    Args:
        service: What a question costs.
        policy: How clients balance; see `POLICIES`.
        clients: How many of them share the questions.
        seed: What decides.
        front: What a client computes for each question; see `Client`.
        resolves: Whether clients see replicas that come only when they resolve the name anew.
    """

    def __init__(
        self,
        service: Service,
        policy: str,
        *,
        clients: int = 1,
        seed: int = 0,
        front: Callable[[Environment], tuple[Work, float]] | None = None,
        resolves: bool = False,
    ) -> None:
        self.env = Environment()
        self.chance = random.Random(seed)
        self._draws = np.random.default_rng(seed)
        self._service = service
        self.replicas: list[Replica] = []
        shared = front(self.env) if front else None
        self.clients = [
            Client(
                self.env,
                POLICIES[policy],
                random.Random(f"{seed} {number}"),
                lambda: self.replicas,
                rest_seconds=service.rest,
                front=shared,
            )
            for number in range(clients)
        ]
        self._resolves = resolves
        if resolves:
            for each in self.clients:
                first = self.chance.uniform(0, _defaults.RESOLVE_SECONDS)
                self.env.process(each.follow(first))
        self._works: Iterator[float] = iter(())
        self._times: Iterator[float] = iter(())
        self._arrived: list[float] = []
        self._latencies: list[float] = []
        self._asked = 0

    def add(self, *replicas: Replica, at_once: bool = True) -> None:
        """Let replicas be found.

        Args:
            *replicas: The replicas.
            at_once: Whether clients know them now, or by their next look.
        """
        self.replicas = [*self.replicas, *replicas]
        if at_once or not self._resolves:
            for each in self.clients:
                each.resolve(self.replicas)

    def remove(self, replica: Replica) -> None:
        """Let a replica leave: it answers what it has, and clients ask others.

        Args:
            replica: The replica.
        """
        self.replicas = [each for each in self.replicas if each is not replica]
        for each in self.clients:
            each.leave(replica)

    def run(self, rate: float | Sequence[tuple[float, float]], seconds: float) -> Outcome:
        """Have questions come at the times of a Poisson process.

        Args:
            rate: Questions per second; or (from which second, questions per second) in steps.
            seconds: For how long.

        Returns:
            What came of them, once all are answered.
        """
        steps = [(0.0, rate)] if isinstance(rate, float | int) else list(rate)
        self._times = iter(_poisson(self._draws, steps, seconds))
        self._arrive(None)
        self._run_until_answered(seconds)
        return self._outcome()

    def run_at_once(self, count: int, seconds: float) -> Outcome:
        """Have so many questions on their way, each followed by the next.

        Args:
            count: How many.
            seconds: For how long.

        Returns:
            What became of them.
        """
        for _ in range(count):
            self._ask(lambda question: self._again(question, seconds))
        self._run_until_answered(seconds)
        return self._outcome()

    def _run_until_answered(self, seconds: float) -> None:
        self.env.run(until=seconds)
        while len(self._arrived) < self._asked:
            self.env.step()

    def _outcome(self) -> Outcome:
        return Outcome(np.asarray(self._arrived), np.asarray(self._latencies), self._asked)

    def _arrive(self, value: object) -> None:
        if value is not None:
            self._ask(self._answered)
        following = next(self._times, None)
        if following is not None:
            after(self.env, following - self.env.now, self._arrive, True)

    def _ask(self, done: Callable[[Question], None]) -> None:
        work = next(self._works, None)
        if work is None:
            self._works = iter(self._service.draw(self._draws, _DRAWN).tolist())
            work = next(self._works)
        self._asked += 1
        clients = self.clients
        client = clients[int(self.chance.random() * len(clients))] if clients[1:] else clients[0]
        client.ask(Question(self.env.now, work, done))

    def _answered(self, question: Question) -> None:
        self._arrived.append(question.arrived)
        self._latencies.append(self.env.now - question.arrived)

    def _again(self, question: Question, seconds: float) -> None:
        self._answered(question)
        if self.env.now < seconds:
            self._ask(question.done)


def _poisson(
    chance: np.random.Generator, steps: Sequence[tuple[float, float]], seconds: float
) -> list[float]:
    """Return ascending times at which questions come, by rates that change in steps."""
    times: list[float] = []
    ends = [start for start, _ in steps[1:]] + [seconds]
    for (start, rate), end in zip(steps, ends, strict=True):
        count = chance.poisson(rate * (end - start))
        times += np.sort(chance.uniform(start, end, count)).tolist()
    return times
