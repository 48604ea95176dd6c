"""What a rollout does at its steps, on a target in memory and a clock that only sleep moves."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest

from bertqa.errors import ConfigChangedError
from bertqa_deploy.errors import (
    InconclusiveError,
    MetricMissingError,
    NothingToDoError,
    RolledBackError,
    SwitchUnfinishedError,
)
from bertqa_deploy.rollout import (
    Counts,
    Evidence,
    Judgement,
    Limits,
    Memory,
    OnInconclusive,
    Outcome,
    Plan,
    Rollout,
    State,
    Verdict,
)
from tests.deploy.rollout.simulated import KilledError, SimulatedTarget

TO_2 = {2: 100.0}
LIMITS = Limits(p95_factor=2, requests=20)


class Clock:
    """A clock that only `sleep` moves; traffic flows meanwhile."""

    def __init__(self, target: SimulatedTarget, requests: float, failed: float = 0) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self._target, self._requests, self._failed = target, requests, failed

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept.append(seconds)
        for version, percent in self._target.state.split.items():
            share = self._requests * seconds * percent / 100
            bad = share * self._failed if version == 2 else 0
            before = self._target.counts.get(version, Counts())
            succeeded, bad = before.succeeded + share - bad, before.failed + bad
            buckets = {10_000.0: succeeded + bad, math.inf: succeeded + bad}
            self._target.counts[version] = Counts(succeeded, bad, buckets)

    def now(self) -> float:
        return self.time


def rollout(
    target: SimulatedTarget,
    requests: float = 100,
    failed: float = 0,
    evidence: tuple[Evidence, ...] = (),
    **plan: Any,
) -> tuple[Rollout, Clock, list[str]]:
    clock = Clock(target, requests, failed)
    steps: list[str] = []
    settings = {"steps": (10, 50, 100), "pause_seconds": 60.0, "limits": LIMITS, **plan}
    made = Rollout(target, Plan(**settings), evidence, steps.append, clock.sleep, clock.now)
    return made, clock, steps


def test_a_candidate_is_held_and_judged_at_every_step() -> None:
    target = SimulatedTarget()
    run, clock, steps = rollout(target)

    moved = run.move(TO_2)

    assert [dict(each.split) for each in moved.held] == [{1: 90, 2: 10}, {1: 50, 2: 50}, {2: 100}]
    assert {each.verdict for each in moved.held} == {Verdict.SUCCESSFUL}
    assert clock.time == pytest.approx(180)
    assert max(clock.slept) == 5
    assert (moved.split, moved.previous) == (TO_2, {1: 100})
    assert (moved.served, moved.retired) == ([2], [1])
    assert steps[1].startswith("measured at 1=90,2=10: 600 requests, 0.0 % failed")
    assert target.state == State(TO_2, frozenset({2}), Memory(TO_2, None, {1: 100}))


def test_without_any_request_it_is_held_and_says_what_is_missing() -> None:
    target = SimulatedTarget()
    run, _, _ = rollout(target, requests=0)

    with pytest.raises(InconclusiveError, match="got 0 of at least 20 requests") as caught:
        run.move(TO_2)

    assert str(caught.value).startswith("Held at 1=90,2=10")
    assert target.state.split == {1: 90, 2: 10}
    reason = caught.value.moved and caught.value.moved.held[-1].reason
    assert target.state.memory == Memory({1: 100}, TO_2, held=reason or "missing")


def test_what_is_held_says_so_until_it_is_measured_again() -> None:
    target = SimulatedTarget()
    with pytest.raises(InconclusiveError):
        rollout(target, requests=0)[0].move(TO_2)

    target.kill_after = 1
    with pytest.raises(KilledError):
        rollout(target)[0].move(TO_2)

    assert target.state.memory == Memory({1: 100}, TO_2)


def test_a_reason_that_cannot_be_noted_does_not_undo_what_is_held() -> None:
    target = SimulatedTarget()
    run, _, steps = rollout(target, requests=0)
    target.fail_after = 3

    with pytest.raises(InconclusiveError):
        run.move(TO_2)

    assert target.state.split == {1: 90, 2: 10}
    assert steps[-1] == "the reason cannot be noted: The target refused."


def test_the_same_command_measures_again_where_it_was_held() -> None:
    target = SimulatedTarget()
    with pytest.raises(InconclusiveError):
        rollout(target, requests=0)[0].move(TO_2)

    run, _, _ = rollout(target)
    assert run.move(TO_2).held[0].split == {1: 90, 2: 10}


def test_back_undoes_a_rollout_that_is_held() -> None:
    target = SimulatedTarget()
    run, _, _ = rollout(target, requests=0)
    with pytest.raises(InconclusiveError):
        run.move(TO_2)

    moved = run.back()

    assert (moved.split, moved.served) == ({1: 100}, [1])
    assert target.state.memory == Memory({1: 100})


def test_a_switch_to_the_good_split_undoes_a_rollout_that_is_held() -> None:
    target = SimulatedTarget()
    run, clock, _ = rollout(target, requests=0)
    with pytest.raises(InconclusiveError):
        run.move(TO_2)
    held_until = clock.time

    assert run.move({1: 100.0}).split == {1: 100}
    assert clock.time == held_until
    assert target.state == State({1: 100}, frozenset({1}), Memory({1: 100}))


def test_inconclusive_may_promote_or_roll_back() -> None:
    promoted, returned = SimulatedTarget(), SimulatedTarget()

    assert (
        rollout(promoted, requests=0, on_inconclusive=OnInconclusive.PROMOTE)[0].move(TO_2).split
        == TO_2
    )
    with pytest.raises(RolledBackError, match="at least 20 requests"):
        rollout(returned, requests=0, on_inconclusive=OnInconclusive.ROLLBACK)[0].move(TO_2)
    assert returned.state == State({1: 100}, frozenset({1}), Memory({1: 100}))


def test_a_failing_candidate_is_rolled_back_at_the_first_step() -> None:
    target = SimulatedTarget()
    run, clock, _ = rollout(target, failed=0.2)

    with pytest.raises(RolledBackError, match=r"20\.0 % of 50 requests failed"):
        run.move(TO_2)

    assert clock.time == pytest.approx(5)
    assert target.state == State({1: 100}, frozenset({1}), Memory({1: 100}))


def test_so_many_failed_measurements_are_forgiven() -> None:
    target = SimulatedTarget()
    run, clock, _ = rollout(target, failed=0.2, limits=Limits(requests=20, failures=2))
    with pytest.raises(RolledBackError):
        run.move(TO_2)
    assert clock.time == pytest.approx(15)


def test_nothing_is_measured_in_the_initial_delay() -> None:
    target = SimulatedTarget()
    run, clock, _ = rollout(target, delay_seconds=30.0, steps=(100,))
    moved = run.move(TO_2)
    assert clock.slept[0] == 30
    assert clock.time == pytest.approx(60)
    assert moved.held[0].requests == 3000


def test_a_metric_that_is_absent_is_refused_before_anything_is_done() -> None:
    target = SimulatedTarget()
    run, _, _ = rollout(target)

    def absent() -> None:
        raise MetricMissingError("The server's metrics lack ovms_requests_fail.")

    target.traffic = absent
    with pytest.raises(MetricMissingError):
        run.move(TO_2)
    assert target.effects == 0


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("odd")])
def test_an_error_of_any_kind_is_undone(error: Exception) -> None:
    target = SimulatedTarget()

    def fails(good: int, candidate: int) -> Judgement:
        raise error

    run, _, _ = rollout(target, evidence=(fails,))
    with pytest.raises(RolledBackError, match=r"No space left|odd"):
        run.move(TO_2)
    assert target.state == State({1: 100}, frozenset({1}), Memory({1: 100}))


def test_what_another_program_changed_is_left_as_it_is() -> None:
    target = SimulatedTarget()

    def fails(good: int, candidate: int) -> Judgement:
        raise ConfigChangedError("config.json was changed.")

    run, _, _ = rollout(target, evidence=(fails,))
    with pytest.raises(ConfigChangedError):
        run.move(TO_2)
    assert target.state.served == {1, 2}


def test_evidence_is_heard_before_the_candidate_has_traffic() -> None:
    target = SimulatedTarget()
    asked: list[tuple[int, int, bool]] = []

    def worse(good: int, candidate: int) -> Judgement:
        asked.append((good, candidate, candidate in target.state.split))
        return Judgement(Verdict.FAILED, "Version 2 is worse.")

    run, _, _ = rollout(target, evidence=(worse,))
    with pytest.raises(RolledBackError, match="Version 2 is worse"):
        run.move(TO_2)
    assert asked == [(1, 2, False)]


def test_evidence_is_heard_on_a_version_that_has_some_of_the_traffic_already() -> None:
    target = SimulatedTarget()
    asked: list[tuple[int, int]] = []

    def heard(good: int, candidate: int) -> Judgement:
        asked.append((good, candidate))
        return Judgement(Verdict.SUCCESSFUL, "Version 2 is as good.")

    run, _, steps = rollout(target, evidence=(heard,))
    run.move({1: 10.0, 2: 90.0})
    run.move(TO_2)

    assert asked == [(1, 2), (1, 2)]
    assert steps.count("Successful: Version 2 is as good.") == 2


def test_a_way_back_that_fails_says_how_to_finish_it() -> None:
    target = SimulatedTarget()

    def worse(good: int, candidate: int) -> Judgement:
        target.fail_after = 0
        return Judgement(Verdict.FAILED, "Version 2 is worse.")

    run, _, _ = rollout(target, evidence=(worse,))
    with pytest.raises(SwitchUnfinishedError, match=r"Version 2 is worse.*--back"):
        run.move(TO_2)
    assert run.back().split == {1: 100}


def test_a_return_is_neither_held_nor_judged() -> None:
    target = SimulatedTarget()
    run, clock, _ = rollout(target)
    run.move(TO_2)
    before = clock.time

    assert run.back().split == {1: 100}
    assert clock.time == before


def test_a_second_return_does_not_lead_forward() -> None:
    target = SimulatedTarget()
    run, _, _ = rollout(target)
    run.move(TO_2)
    run.back()

    with pytest.raises(NothingToDoError, match="1=100 is the last good split") as caught:
        run.back()
    assert caught.value.moved is not None
    assert caught.value.moved.outcome is Outcome.UNCHANGED
    assert target.state.split == {1: 100}


def test_a_return_that_was_undone_can_be_made_again() -> None:
    target = SimulatedTarget()
    run, _, _ = rollout(target)
    run.move(TO_2)
    target.broken = {1}
    with pytest.raises(RolledBackError):
        run.back()
    target.broken = set()

    assert target.state.memory == Memory(TO_2, None, {1: 100})
    assert run.back().split == {1: 100}


def test_after_a_candidate_that_was_refused_back_leaves_the_good_version() -> None:
    target = SimulatedTarget()
    run, _, _ = rollout(target)
    run.move(TO_2)
    target.broken = {3}
    with pytest.raises(RolledBackError) as caught:
        run.move({3: 100})
    assert caught.value.moved is not None
    assert caught.value.moved.outcome is Outcome.RETURNED
    assert caught.value.moved.split == TO_2

    with pytest.raises(NothingToDoError, match="2=100 is the last good split"):
        run.back()


@pytest.mark.parametrize("effects", range(6))
def test_what_a_return_leaves_has_to_prove_itself_anew(effects: int) -> None:
    target = SimulatedTarget()
    heard: list[tuple[int, int]] = []

    def hear(good: int, candidate: int) -> Judgement:
        heard.append((good, candidate))
        return Judgement(Verdict.SUCCESSFUL, "It answers alike.")

    run, _, _ = rollout(target, evidence=(hear,))
    run.move(TO_2)
    heard.clear()
    target.kill_after = effects
    with contextlib.suppress(KilledError):
        run.back()
    target.kill_after = None
    if target.state.memory.goal is None:
        return  # The return had begun nothing, or was over.

    moved = run.move(TO_2)

    assert heard == [(1, 2)]
    assert [each.reason for each in moved.evidence] == ["It answers alike."]
    assert moved.held
    assert target.state.memory.good == TO_2


def test_back_says_where_there_is_nothing_to_return_to() -> None:
    with pytest.raises(NothingToDoError, match="1=100 is the last good split"):
        rollout(SimulatedTarget())[0].back()


KEYS = {
    *("outcome", "target", "split", "previous", "served", "retired"),
    *("evidence", "held", "seconds"),
}


def test_the_result_has_the_same_keys_for_every_target() -> None:
    moved = rollout(SimulatedTarget())[0].move(TO_2).to_dict()
    assert set(moved) == KEYS
    assert set(moved["held"][0]) == {
        *("split", "version", "requests", "failed", "p95_ms", "good_p95_ms"),
        *("verdict", "reason"),
    }
