"""A HorizontalPodAutoscaler as Kubernetes has it, on a simulated fleet."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from simpy import Event

from tools.fleet.model import Replica
from tools.fleet.simulation import Fleet

# The defaults of the controller; metrics-server averages over 15 s too.
_SYNC_SECONDS = 15.0
_TOLERANCE = 0.1
_UP_SECONDS, _UP_PODS, _UP_FACTOR = 15.0, 4, 2.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """An autoscaler by a chart's values, and what pods take.

    Attributes:
        target: The part of the streams that is to be busy, from 0 to 1.
        least: The fewest pods.
        most: The most pods.
        down_seconds: How long load has to have been low before a pod goes.
        down_pod_seconds: How often one pod goes at most.
        start_seconds: How long a pod takes from when it is wanted until it is ready: a node, the
            image, the model, the warm-up.
        metric_seconds: How old a metric is when it is read.
    """

    target: float = 0.7
    least: int = 2
    most: int = 100
    down_seconds: float = 300.0
    down_pod_seconds: float = 60.0
    start_seconds: float = 45.0
    metric_seconds: float = 15.0


class Autoscaler:
    """Adds replicas to a fleet, and removes them.

    Args:
        fleet: The fleet, which has its first replicas.
        scaling: What decides.
        new: Makes a replica.
    """

    def __init__(self, fleet: Fleet, scaling: Scaling, new: Callable[[], Replica]) -> None:
        self._fleet, self._scaling, self._new = fleet, scaling, new
        self._starting = 0
        self._used: deque[tuple[float, dict[Replica, float]]] = deque()
        self._wanted: deque[tuple[float, int]] = deque()
        self._last: tuple[float, dict[Replica, float]] | None = None
        self._found: dict[Replica, float] | None = None
        self._removed_at = -math.inf
        self.counts: list[tuple[float, int]] = [(0.0, self.count)]
        """How many pods there were, those that start included, as (since when, how many)."""
        fleet.env.process(self._run())

    @property
    def count(self) -> int:
        """How many pods there are, those that start included."""
        return len(self._fleet.replicas) + self._starting

    def pod_seconds(self, end: float) -> float:
        """Return how long pods ran, all together, in seconds.

        Args:
            end: Until when.
        """
        ends = [at for at, _ in self.counts[1:]] + [end]
        return sum(
            count * (until - since) for (since, count), until in zip(self.counts, ends, strict=True)
        )

    def _run(self) -> Generator[Event, Any, None]:
        env = self._fleet.env
        while True:
            yield env.timeout(_SYNC_SECONDS)
            self._used.append((env.now, {each: each.used for each in self._fleet.replicas}))
            busy = self._utilization()
            if busy is not None:
                self._scale(busy)

    def _utilization(self) -> dict[Replica, float] | None:
        """Return which part of each replica's streams was busy, as old as the metric is."""
        scaling, now = self._scaling, self._fleet.env.now
        while len(self._used) > 1 and self._used[1][0] <= now - scaling.metric_seconds:
            self._used.popleft()
        until, after = self._used[0]
        before = self._last
        self._last = (until, after)
        if before is None or until <= before[0]:
            return self._found
        self._found = {
            each: (used - before[1][each]) / ((until - before[0]) * each.streams)
            for each, used in after.items()
            if each in before[1]
        } or None
        return self._found

    def _scale(self, busy: dict[Replica, float]) -> None:
        env, scaling = self._fleet.env, self._scaling
        current = self.count
        desired = self._desired(busy, current)
        self._wanted.append((env.now, desired))
        while self._wanted[0][0] < env.now - scaling.down_seconds:
            self._wanted.popleft()
        if desired > current:
            room = max(current + _UP_PODS, math.ceil(current * _UP_FACTOR))
            for _ in range(min(desired, room, scaling.most) - current):
                self._starting += 1
                env.process(self._start())
        else:
            desired = max(scaling.least, min(current, max(each for _, each in self._wanted)))
            may = env.now - self._removed_at >= scaling.down_pod_seconds
            if desired < current and may and not self._starting:
                self._removed_at = env.now
                self._fleet.remove(self._fleet.replicas[-1])
        if self.count != self.counts[-1][1]:
            self.counts.append((env.now, self.count))

    def _desired(self, busy: dict[Replica, float], current: int) -> int:
        """Return how many pods the metric asks for; on the way up those without one are idle."""
        measured = [busy[each] for each in self._fleet.replicas if each in busy]
        if not measured:
            return current
        ratio = sum(measured) / len(measured) / self._scaling.target
        if ratio > 1 and current > len(measured):
            ratio = max(1.0, sum(measured) / current / self._scaling.target)
        if abs(ratio - 1) <= _TOLERANCE:
            return current
        count = current if ratio > 1 else len(measured)
        return max(self._scaling.least, min(self._scaling.most, math.ceil(ratio * count)))

    def _start(self) -> Generator[Event, Any, None]:
        yield self._fleet.env.timeout(self._scaling.start_seconds)
        self._starting -= 1
        self._fleet.add(self._new(), at_once=False)
