"""Clients, replicas and the cores of nodes, as events of a simulated time in seconds.

A question waits in its replica's queue until one of the replica's streams is free, and then takes
its work there, at the replica's speed. Replicas on a node of their own compute at that speed;
those that share a node's cores share them alike (processor sharing).
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Protocol

from simpy import Environment, Event, Timeout

from bertqa import _defaults
from tools.fleet.balancing import Policy


class Work(Protocol):
    """Where work is done."""

    def run(self, work: float, speed: float, done: Callable[[Any], None], value: Any) -> None:
        """Call `done(value)` when so much work is done.

        Args:
            work: The work, in seconds of a core.
            speed: The speed of what does it: 1 is a core's.
            done: What is called.
            value: What it is called with.
        """
        ...


def after(env: Environment, seconds: float, done: Callable[[Any], None], value: Any) -> None:
    """Call a function at a later time.

    Args:
        env: The simulated time.
        seconds: How much later.
        done: The function.
        value: What it is called with.
    """
    callbacks = Timeout(env, seconds, value).callbacks
    assert callbacks is not None

    def call(event: Event) -> None:
        done(event.value)

    callbacks.append(call)


class OwnCores:
    """Cores that nothing else has: work takes its time, whatever else runs.

    Args:
        env: The simulated time.
    """

    def __init__(self, env: Environment) -> None:
        self._env = env

    def run(self, work: float, speed: float, done: Callable[[Any], None], value: Any) -> None:
        """Do work; see `Work`."""
        after(self._env, work / speed, done, value)


class SharedCores:
    """The cores of a node, which all that runs there shares alike.

    What runs at half a core's speed by itself takes half a core. Where all want more than there is,
    each is as much slower.

    Args:
        env: The simulated time.
        cores: How many there are.
    """

    def __init__(self, env: Environment, cores: float) -> None:
        self._env = env
        self._cores = cores
        self._wanted = 0.0
        # Time as it passes for what runs: slower than the clock where cores are short.
        self._virtual = self._seen = 0.0
        self._running: list[tuple[float, int, float, Callable[[Any], None], Any]] = []
        self._count = self._timer = 0

    def run(self, work: float, speed: float, done: Callable[[Any], None], value: Any) -> None:
        """Do work; see `Work`."""
        self._pass()
        self._count += 1
        self._wanted += speed
        entry = (self._virtual + work / speed, self._count, speed, done, value)
        heapq.heappush(self._running, entry)
        self._set_timer()

    def _pass(self) -> None:
        now = self._env.now
        self._virtual += (now - self._seen) * self._pace()
        self._seen = now

    def _pace(self) -> float:
        return min(1.0, self._cores / self._wanted) if self._wanted > 0 else 1.0

    def _set_timer(self) -> None:
        self._timer += 1
        if self._running:
            left = max(0.0, self._running[0][0] - self._virtual) / self._pace()
            after(self._env, left, self._end, self._timer)

    def _end(self, timer: int) -> None:
        if timer != self._timer:
            return  # Something began or ended since.
        self._pass()
        _, _, speed, done, value = heapq.heappop(self._running)
        self._wanted = self._wanted - speed if self._running else 0.0
        self._set_timer()
        done(value)


class Question:
    """A question on its way.

    Attributes:
        arrived: When it came.
        work: What it costs a replica, in seconds of its streams at speed 1.
        client: Who asks.
        at: Where it is, from the client's view.
        done: Called with it when it is answered.
    """

    __slots__ = ("arrived", "at", "client", "done", "work")

    def __init__(self, arrived: float, work: float, done: Callable[[Question], None]) -> None:
        self.arrived = arrived
        self.work = work
        self.done = done
        self.client: Client
        self.at: Endpoint


class Replica:
    """A server with a queue and streams.

    Args:
        env: The simulated time.
        streams: How many questions it computes at once.
        cores: Where it computes.
        speed: How fast.
        work_factor: How much of a question's work it has: less than 1 for a faster version.
        cold: How many questions it computes slowly at first, as it compiles kernels for them.
        cold_speed: How fast those are computed, as a part of its speed.
        zone: Where its node is.
    """

    def __init__(
        self,
        env: Environment,
        streams: int = 1,
        cores: Work | None = None,
        *,
        speed: float = 1.0,
        work_factor: float = 1.0,
        cold: int = 0,
        cold_speed: float = 0.4,
        zone: int = 0,
    ) -> None:
        self._env = env
        self.streams = streams
        self._cores = cores or OwnCores(env)
        self.speed = speed
        self.work_factor = work_factor
        self._cold = cold
        self._cold_speed = cold_speed
        self.zone = zone
        self.busy = 0
        self.used = 0.0
        """Seconds that its streams have been computing, or will be with what they have begun."""
        self.failed: float | None = None
        """How long its silence is met before it is left; None while it answers."""
        self._pending: dict[Question, None] = {}
        self._queue: deque[Question] = deque()

    def submit(self, question: Question) -> None:
        """Take a question.

        Args:
            question: The question.
        """
        self._pending[question] = None
        if self.failed is not None:
            self._leave(question)
        elif self.busy < self.streams:
            self._start(question)
        else:
            self._queue.append(question)

    def fail(self, silent_seconds: float) -> None:
        """End: no question that it has is answered, nor any that comes.

        Args:
            silent_seconds: After how long its clients notice: 0 where connections are refused.
        """
        self.failed = silent_seconds
        self._queue.clear()
        for question in list(self._pending):
            self._leave(question)

    def _leave(self, question: Question) -> None:
        assert self.failed is not None
        after(self._env, self.failed, question.client.lost, question)

    def _start(self, question: Question) -> None:
        self.busy += 1
        speed = self.speed
        if self._cold:
            self._cold -= 1
            speed *= self._cold_speed
        work = question.work * self.work_factor
        self.used += work / speed
        self._cores.run(work, speed, self._end, question)

    def _end(self, question: Question) -> None:
        if self.failed is not None:
            return
        self.busy -= 1
        del self._pending[question]
        if self._queue:
            self._start(self._queue.popleft())
        question.client.answered(question)


class Endpoint:
    """A replica as one client sees it.

    Attributes:
        replica: The replica.
        calls: How many calls of this client are on their way to it.
    """

    __slots__ = ("calls", "replica")

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.calls = 0


class Client:
    """Who balances: an HTTP API's pod, or a program with a `QAClient`.

    Args:
        env: The simulated time.
        policy: Which replica has the next question.
        chance: What decides.
        look_up: Returns the replicas that the name stands for.
        rest_seconds: What a question takes besides, which nothing competes for.
        front: Where the client computes, by how much for each question, before and after; one
            question at a time. None where that is in `rest_seconds`.
    """

    def __init__(
        self,
        env: Environment,
        policy: Policy,
        chance: random.Random,
        look_up: Callable[[], list[Replica]],
        *,
        rest_seconds: float = 0.0,
        front: tuple[Work, float] | None = None,
    ) -> None:
        self._env = env
        self._policy = policy
        self._chance = chance
        self._look_up = look_up
        self._rest = rest_seconds
        self._front = front
        self._waiting: deque[tuple[Callable[[Question], None], Question]] = deque()
        self._computes = False
        self._turn = 0
        self.endpoints: list[Endpoint] = []

    def follow(self, first: float) -> Generator[Event, Any, None]:
        """Resolve the name again and again, as `AsyncBalancedTransport` does.

        Args:
            first: When to begin, in seconds.

        Returns:
            What simpy runs.
        """
        yield self._env.timeout(first)
        while True:
            self.resolve(self._look_up())
            yield self._env.timeout(_defaults.RESOLVE_SECONDS)

    def resolve(self, replicas: list[Replica]) -> None:
        """Take the replicas that the name stands for now.

        Args:
            replicas: The replicas.
        """
        known = {each.replica: each for each in self.endpoints}
        self.endpoints = [known.get(each) or Endpoint(each) for each in replicas]

    def leave(self, replica: Replica) -> None:
        """Send a replica nothing more, as it has left or does not answer.

        Args:
            replica: The replica.
        """
        self.endpoints = [each for each in self.endpoints if each.replica is not replica]

    def ask(self, question: Question) -> None:
        """Ask a question, which is answered once.

        Args:
            question: The question.
        """
        question.client = self
        if self._front is None:
            self._send(question)
        else:
            self._compute(self._send, question)

    def lost(self, question: Question) -> None:
        """Ask a question again elsewhere, whose replica does not answer.

        Args:
            question: The question.
        """
        question.at.calls -= 1
        self.leave(question.at.replica)
        self._send(question)

    def answered(self, question: Question) -> None:
        """Take the answer of a replica.

        Args:
            question: The question.
        """
        question.at.calls -= 1
        if self._front is not None:
            self._compute(self._finish, question)
        else:
            self._finish(question)

    def _send(self, question: Question) -> None:
        if not self.endpoints:
            # As the client does where no server is left that answers.
            self.resolve(self._look_up())
        self._turn += 1
        endpoint = self._policy(self.endpoints, self._turn, self._chance)
        endpoint.calls += 1
        question.at = endpoint
        endpoint.replica.submit(question)

    def _finish(self, question: Question) -> None:
        if self._rest:
            after(self._env, self._rest, question.done, question)
        else:
            question.done(question)

    def _compute(self, then: Callable[[Question], None], question: Question) -> None:
        self._waiting.append((then, question))
        if not self._computes:
            self._compute_next()

    def _compute_next(self) -> None:
        assert self._front is not None
        self._computes = True
        cores, seconds = self._front
        cores.run(seconds / 2, 1.0, self._computed, None)

    def _computed(self, _: None) -> None:
        then, question = self._waiting.popleft()
        if self._waiting:
            self._compute_next()
        else:
            self._computes = False
        then(question)
