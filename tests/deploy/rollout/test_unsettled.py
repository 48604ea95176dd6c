"""What a rollout does where nothing was begun yet, or something is left besides the split."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bertqa.artifact import Split
from bertqa_deploy.errors import ClusterError, NothingToDoError, RolledBackError
from bertqa_deploy.rollout import Judgement, Memory, Rollout, State, Verdict
from tests.deploy.rollout.simulated import SimulatedTarget

TO_2 = {2: 100.0}


class Retaining(SimulatedTarget):
    """A target that still serves the versions below the highest of a split."""

    def kept(self, state: State, goal: Split) -> frozenset[int]:
        return frozenset(goal) | {version for version in state.served if version < max(goal)}


def worse(good: int, candidate: int) -> Judgement:
    return Judgement(Verdict.FAILED, f"{candidate} is worse than {good}.")


def test_what_a_rollout_brought_is_taken_away_when_it_is_rolled_back() -> None:
    target = Retaining(3)
    with pytest.raises(RolledBackError, match="2 is worse than 3"):
        Rollout(target, evidence=[worse]).move(TO_2)
    assert target.state.served == {3}


def test_what_was_served_before_stays_when_it_is_rolled_back() -> None:
    target = Retaining(3)
    target.state = replace(target.state, served=frozenset({1, 3}))
    with pytest.raises(RolledBackError):
        Rollout(target, evidence=[worse]).move(TO_2)
    assert target.state.served == {1, 3}


def test_a_failure_before_the_first_effect_is_raised_as_it_is() -> None:
    target = SimulatedTarget()
    target.fail_after = 0
    with pytest.raises(ClusterError, match="refused"):
        Rollout(target).move(TO_2)
    assert target.effects == 0


def test_a_failure_after_the_first_effect_is_rolled_back() -> None:
    target = SimulatedTarget()
    target.fail_after = 1
    with pytest.raises(RolledBackError, match="refused"):
        Rollout(target).move(TO_2)


def test_what_is_not_settled_is_finished_although_the_split_stays() -> None:
    target = SimulatedTarget()
    target.state = replace(target.state, settled=False)
    assert Rollout(target).move({1: 100.0}).split == {1: 100.0}
    assert target.state.settled
    with pytest.raises(NothingToDoError):
        Rollout(target).move({1: 100.0})


def test_a_rollout_that_has_reached_its_goal_is_finished_without_its_good_version() -> None:
    """Evidence compares with the good version, which may have been taken away before the kill."""
    target = SimulatedTarget()
    target.state = State(TO_2, frozenset({2}), Memory({1: 100.0}, TO_2))
    assert Rollout(target, evidence=[worse]).move(TO_2).split == TO_2
    assert target.state.memory.goal is None
