"""A target in memory whose every effect may fail, or may be the last one before a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bertqa.artifact import Split
from bertqa_deploy.errors import ClusterError, DeployError
from bertqa_deploy.rollout import Counts, Memory, State


class KilledError(BaseException):
    """The process ended here, without cleaning up."""


class SimulatedTarget:
    """A target that serves whatever it is asked to, and checks after each effect that all can.

    `kill_after` and `fail_after` count effects down; `broken` versions do not answer;
    `whole_only` is one that cannot split its traffic.
    """

    name = "simulated"

    def __init__(self, version: int = 1) -> None:
        self.state = State({version: 100.0}, frozenset({version}), Memory({version: 100.0}))
        self.kill_after: int | None = None
        self.fail_after: int | None = None
        self.broken: set[int] = set()
        self.counts: dict[int, Counts] = {}
        self.traffic: Callable[[], None] = lambda: None
        self.whole_only = False
        self.effects = 0
        self.violations: list[str] = []

    def current(self) -> State:
        return self.state

    def check(self, goal: Split) -> None:
        if len({*goal, *self.state.split, *self.state.memory.good}) > 3:
            raise ClusterError("Too many versions at once: nothing was changed.")
        if self.whole_only and len(goal) > 1:
            raise ClusterError("One version has all traffic.")

    def kept(self, state: State, goal: Split) -> frozenset[int]:
        return frozenset(goal)

    def prove(self, versions: frozenset[int]) -> None:
        bad = versions & self.broken
        if bad:
            raise DeployError(f"Version {min(bad)} does not answer.")

    def apply(self, wanted: State) -> None:
        now = self.state
        serving = now.served | wanted.served
        for served, memory, split in (
            (serving, now.memory, now.split),
            (serving, wanted.memory, now.split),
            (serving, wanted.memory, wanted.split),
            (wanted.served, wanted.memory, wanted.split),
        ):
            if self.state != State(split, served, memory):
                self._effect(State(split, served, memory))

    def observe(self, version: int) -> Mapping[str, Counts]:
        self.traffic()
        return {f"server-{version}": self.counts.get(version, Counts())}

    def _effect(self, state: State) -> None:
        if self.fail_after == 0:
            self.fail_after = None
            raise ClusterError("The target refused.")
        if self.kill_after == 0:
            self.kill_after = None
            raise KilledError
        self.fail_after = None if self.fail_after is None else self.fail_after - 1
        self.kill_after = None if self.kill_after is None else self.kill_after - 1
        self.effects += 1
        self.state = state
        if not set(state.split) <= state.served:
            self.violations.append(f"traffic goes where nothing is served: {state}")
        if round(sum(state.split.values()), 6) != 100:
            self.violations.append(f"the split is not whole: {state}")
