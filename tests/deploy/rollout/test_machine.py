"""The rollout, driven through every interleaving of success, failure, kill, resume and return."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bertqa.artifact import Split
from bertqa_deploy.errors import (
    ClusterError,
    InconclusiveError,
    NothingToDoError,
    RolledBackError,
    SwitchUnfinishedError,
)
from bertqa_deploy.rollout import Plan, Rollout
from tests.deploy.rollout.simulated import KilledError, SimulatedTarget

GOALS: list[Split] = [{1: 100.0}, {2: 100.0}, {3: 100.0}, {1: 90.0, 2: 10.0}, {2: 50.0, 3: 50.0}]
STEPS = [(100,), (10, 50, 100), (5, 25)]


class Clock:
    """Time that passes only in a sleep."""

    def __init__(self) -> None:
        self.time = 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> float:
        return self.time


def rollout(target: SimulatedTarget, **plan: Any) -> Rollout:
    clock = Clock()
    return Rollout(target, Plan(**plan), sleep=clock.sleep, now=clock.now)


class Rollouts(RuleBasedStateMachine):
    """What must hold whatever happens, with a model that only knows the last good split."""

    def __init__(self) -> None:
        super().__init__()
        self.target = SimulatedTarget()
        self.under_way: Split | None = None

    def _attempt(
        self, goal: Split | None, steps: tuple[int, ...] = (100,), pause: float = 0
    ) -> str:
        memory = self.target.state.memory
        good = (memory if goal is None else memory.for_goal(goal)).good
        run = rollout(self.target, steps=steps, pause_seconds=pause)
        try:
            moved = run.back() if goal is None else run.move(goal)
        except KilledError:
            return "killed"
        except (NothingToDoError, SwitchUnfinishedError) as error:
            return type(error).__name__
        except ClusterError:
            return "refused"
        except InconclusiveError:  # No target has requests here.
            assert pause
            assert self.target.state.memory.goal == goal
            return "held"
        except RolledBackError:
            assert self.target.state.split == self.target.state.memory.good == good
            assert self.target.state.memory.goal is None
            return "rolled back"
        assert self.target.state.split == moved.split
        assert self.target.state.memory.goal is None
        return "done"

    @rule(
        goal=st.sampled_from(GOALS),
        steps=st.sampled_from(STEPS),
        kill=st.none() | st.integers(0, 8),
        fail=st.none() | st.integers(0, 8),
        broken=st.sets(st.sampled_from([2, 3])),
        pause=st.sampled_from([0.0, 0.0, 10.0]),
    )
    def move(
        self,
        goal: Split,
        steps: tuple[int, ...],
        kill: int | None,
        fail: int | None,
        broken: set[int],
        pause: float,
    ) -> None:
        self.target.kill_after, self.target.fail_after = kill, fail
        self.target.broken = broken
        self._attempt(goal, steps, pause)
        self.target.kill_after = self.target.fail_after = None
        self.target.broken = set()

    @rule(kill=st.none() | st.integers(0, 6), fail=st.none() | st.integers(0, 6))
    def back(self, kill: int | None, fail: int | None) -> None:
        self.target.kill_after, self.target.fail_after = kill, fail
        self._attempt(None)
        self.target.kill_after = self.target.fail_after = None

    @rule()
    def undisturbed_back_reaches_the_last_good_split(self) -> None:
        memory = self.target.state.memory
        expected = memory.good if memory.goal and not memory.returning else memory.goal
        expected = expected or memory.previous
        outcome = self._attempt(None)
        assert outcome == ("NothingToDoError" if expected is None else "done")
        if expected is not None:
            assert self.target.state.split == expected

    @rule(steps=st.sampled_from(STEPS))
    def the_same_command_resumes(self, steps: tuple[int, ...]) -> None:
        goal = self.target.state.memory.goal
        if goal is not None:
            assert self._attempt(goal, steps) == "done"
            assert self.target.state.split == self.target.state.memory.good == goal
            assert self.target.state.served == set(goal)

    @invariant()
    def who_has_traffic_is_served(self) -> None:
        state = self.target.state
        assert not self.target.violations
        assert set(state.memory.good) <= state.served or state.memory.goal is None

    @invariant()
    def between_rollouts_the_split_is_the_good_one(self) -> None:
        state = self.target.state
        if state.memory.goal is None:
            assert state.split == state.memory.good
            assert not state.memory.held


Rollouts.TestCase.settings = settings(max_examples=300, stateful_step_count=12, deadline=None)
TestRollouts = Rollouts.TestCase
