"""The first rollout of a target where no version has traffic yet, such as a new endpoint."""

from __future__ import annotations

import pytest

from bertqa_deploy.errors import NothingToDoError, RolledBackError
from bertqa_deploy.rollout import Judgement, Memory, Plan, Rollout, State
from tests.deploy.rollout.simulated import KilledError, SimulatedTarget

NOTHING_YET = State({}, frozenset({1, 2}), Memory({}))
STEPS = Plan(steps=(10, 50, 100))


def without_traffic() -> SimulatedTarget:
    target = SimulatedTarget()
    target.state = NOTHING_YET
    return target


def unexpected(good: int, candidate: int) -> Judgement:
    raise AssertionError("there is no good version to compare with")


def test_all_traffic_goes_to_the_first_version_at_once() -> None:
    target = without_traffic()

    moved = Rollout(target, STEPS, evidence=[unexpected]).move({1: 100.0})

    assert (moved.split, moved.previous) == ({1: 100}, None)
    assert target.state.memory == Memory({1: 100})
    assert not target.violations
    with pytest.raises(NothingToDoError, match="nothing to go back to"):
        Rollout(target).back()


def test_a_first_version_that_does_not_prove_itself_gets_no_traffic() -> None:
    target = without_traffic()
    target.broken = {1}

    with pytest.raises(RolledBackError, match="returned to no version: Version 1 does not answer"):
        Rollout(target, STEPS).move({1: 100.0})
    assert (target.state.split, target.state.memory) == ({}, Memory({}))


@pytest.mark.parametrize("effects", range(3))
def test_the_same_command_finishes_a_killed_one_and_back_undoes_it(effects: int) -> None:
    for resumed in (True, False):
        target = without_traffic()
        target.kill_after = effects
        with pytest.raises(KilledError):
            Rollout(target, STEPS).move({1: 90.0, 2: 10.0})
        if resumed:
            assert Rollout(target, STEPS).move({1: 90.0, 2: 10.0}).split == {1: 90, 2: 10}
        elif effects:
            assert Rollout(target).back().split == {}
        assert not target.violations
