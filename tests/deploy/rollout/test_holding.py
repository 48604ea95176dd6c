"""Who is judged at a step and by what, what is said about it, and what is promoted unseen."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bertqa_deploy.errors import InconclusiveError, RolledBackError
from bertqa_deploy.rollout import Counts, Judgement, Memory, OnInconclusive, State, Verdict
from tests.deploy.rollout.simulated import KilledError, SimulatedTarget
from tests.deploy.rollout.test_rollout import TO_2, rollout

HALF = {1: 50.0, 2: 50.0}
BOTH = {1: 60.0, 2: 30.0, 3: 10.0}


def test_each_version_that_gains_is_judged_for_itself() -> None:
    """Version 3 fails a fifth of its few requests, which version 2's many would hide."""
    target = SimulatedTarget()
    run, clock, _ = rollout(target, steps=(100,))
    flow = clock.sleep

    def sleep(seconds: float) -> None:
        flow(seconds)
        counts = target.counts.get(3)
        if counts is not None:
            requests, failed = counts.requests, counts.requests / 5
            buckets = {10_000.0: requests, math.inf: requests}
            target.counts[3] = Counts(requests - failed, failed, buckets)

    run = replace(run, sleep=sleep)
    with pytest.raises(RolledBackError, match=r"Version 3: \d+.\d % of 50 requests fail") as caught:
        run.move(BOTH)

    held = caught.value.moved.held if caught.value.moved else []
    assert [(each.version, each.verdict) for each in held] == [
        (2, Verdict.SUCCESSFUL),
        (3, Verdict.FAILED),
    ]
    assert target.state.split == {1: 100}


def test_one_that_got_too_little_is_not_promoted_with_the_others() -> None:
    target = SimulatedTarget()
    run, _, steps = rollout(target, requests=0.5, pause_seconds=100.0, steps=(100,))

    with pytest.raises(InconclusiveError, match="Version 3 got 5 of at least") as caught:
        run.move({1: 50.0, 2: 40.0, 3: 10.0})

    assert "Version 2" not in str(caught.value)
    assert len([step for step in steps if step.startswith("measured at")]) == 2


def test_the_line_of_a_step_names_the_good_version_s_latency_and_the_limit() -> None:
    target = SimulatedTarget()
    run, _, steps = rollout(target, steps=(50,))
    moved = run.move(TO_2)
    assert steps[1].endswith(": version 1 has 9.5 ms, and 2 times that, 19.0 ms, are allowed.")
    assert [each.good_p95_ms for each in moved.held] == [pytest.approx(9.5), None]


@pytest.mark.parametrize(
    ("goal", "steps", "said"),
    [
        (TO_2, (10, 50), "1=90,2=10, then 1=50,2=50, then 2=100"),
        ({1: 70.0, 2: 30.0}, (10, 50), "1=90,2=10, then 1=70,2=30"),
        ({1: 90.0, 2: 10.0}, (50, 75), "1=90,2=10"),
        (TO_2, (10, 100), "1=90,2=10, then 2=100"),
        (TO_2, (100,), "2=100"),
    ],
)
def test_the_steps_to_come_are_announced_with_the_goal_as_the_last(
    goal: dict[int, float], steps: tuple[int, ...], said: str
) -> None:
    run, _, shown = rollout(SimulatedTarget(), steps=steps)
    run.move(goal)
    how = f"{run.plan.pause_seconds:g} s at each, which takes {run.plan.limits.requests} requests"
    assert shown[0] == f"the steps are {said}: {how} to be judged"


def test_a_rollout_that_was_held_announces_the_steps_that_are_left() -> None:
    target = SimulatedTarget()
    with pytest.raises(InconclusiveError):
        rollout(target, requests=0, steps=(10, 50, 100))[0].move(TO_2)
    run, _, shown = rollout(target, steps=(10, 50, 100))
    run.move(TO_2)
    assert shown[0].startswith("the steps are 1=90,2=10, then 1=50,2=50, then 2=100: ")

    held = SimulatedTarget()
    held.apply(State(HALF, frozenset({1, 2}), Memory({1: 100.0}, TO_2, held="Too few.")))
    run, _, shown = rollout(held, steps=(10, 50, 75, 100))
    run.move(TO_2)
    assert shown[0].startswith("the steps are 1=50,2=50, then 1=25,2=75, then 2=100: ")


def test_a_move_at_once_without_a_judgement_announces_nothing() -> None:
    run, _, shown = rollout(SimulatedTarget(), steps=(100,), pause_seconds=0.0)
    run.move(TO_2)
    assert shown == []


def test_what_was_held_is_not_promoted_unseen_without_a_warning() -> None:
    target = SimulatedTarget()
    with pytest.raises(InconclusiveError):
        rollout(target, requests=0)[0].move(TO_2)

    run, _, steps = rollout(target, pause_seconds=0.0)
    run.move(TO_2)

    assert steps[0].startswith("warning: the rollout was held (Version 2 got 0 of at least 20")
    assert steps[0].endswith("it leads to 2=100 without evidence")


def test_what_was_interrupted_at_a_step_is_not_completed_unseen_without_a_warning() -> None:
    target = SimulatedTarget()
    target.kill_after = 3
    with pytest.raises(KilledError):
        rollout(target)[0].move(TO_2)
    assert target.state.split == {1: 90, 2: 10}

    run, _, steps = rollout(target, pause_seconds=0.0)
    run.move(TO_2)

    assert steps[0].startswith("warning: the rollout was interrupted at 1=90,2=10, and this")


def test_there_is_no_warning_where_something_is_measured_or_nothing_was_held() -> None:
    def alike(good: int, candidate: int) -> Judgement:
        return Judgement(Verdict.SUCCESSFUL, "It answers alike.")

    for options in ({}, {"evidence": (alike,), "pause_seconds": 0.0}):
        target = SimulatedTarget()
        with pytest.raises(InconclusiveError):
            rollout(target, requests=0)[0].move(TO_2)
        run, _, steps = rollout(target, **options)  # type: ignore[arg-type]
        run.move(TO_2)
        assert not [step for step in steps if step.startswith("warning")]

    run, _, steps = rollout(SimulatedTarget(), pause_seconds=0.0)
    run.move(TO_2)
    run.back()
    assert steps == ["the steps are 1=90,2=10, then 1=50,2=50, then 2=100"]


def test_several_that_may_be_promoted_are() -> None:
    run, _, _ = rollout(SimulatedTarget(), requests=0, on_inconclusive=OnInconclusive.PROMOTE)
    assert run.move(BOTH).split == BOTH
