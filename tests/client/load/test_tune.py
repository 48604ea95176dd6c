"""The search for the fastest settings, on systems whose speed is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bertqa.artifact import Topology
from bertqa.errors import BertQAError
from bertqa.load import (
    Candidate,
    Goal,
    LoadTest,
    Objective,
    RateFound,
    Shape,
    Stage,
    System,
    Target,
    tune,
)
from bertqa.load import _tune as module
from bertqa.load._stage import new_histogram

FOUR_CORES = Topology(threads=8, cores=4, nodes=1)
Speed = Callable[[Candidate, int], float]


class KnownSystem(System):
    """Answers as many questions as its settings let it, without asking them."""

    def __init__(self, candidate: Candidate, speed: Speed, errors: dict[str, int]) -> None:
        super().__init__(Target({"url": "localhost:9000"}), LoadTest([("Who?", "I.")]))
        self.candidate, self.speed, self.errors = candidate, speed, errors
        self.turns = 0

    def stage(self, shape: Shape, seconds: float | None = None, turn: int = 0) -> Stage:
        self.turns += 1
        return Stage(
            shape=shape,
            seconds=1.0,
            asked=10,
            errors=self.errors,
            questions_per_second=self.speed(self.candidate, self.turns),
            encoded=new_histogram().encode().decode(),
            late_p99_ms=0.0,
            processes=1,
            client_share=0.1,
        )

    def find_rate(self, objective: Objective) -> RateFound:
        rate = self.speed(self.candidate, 1) / objective.milliseconds
        return RateFound(objective, rate, 459, 0, 1.0, [])


class KnownLaboratory:
    def __init__(self, speed: Speed, errors: dict[str, int] | None = None) -> None:
        self.speed, self.errors = speed, errors or {}
        self.opened: list[list[KnownSystem]] = []

    @contextmanager
    def __call__(self, candidates: Sequence[Candidate]) -> Iterator[list[KnownSystem]]:
        systems = [KnownSystem(each, self.speed, self.errors) for each in candidates]
        self.opened.append(systems)
        yield systems


@pytest.fixture(autouse=True)
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_flags", lambda: {"avx512_bf16"})
    monkeypatch.setattr(module, "own_precision", lambda: None)


def test_the_fastest_version_precision_place_and_budget_win() -> None:
    def speed(each: Candidate, turn: int) -> float:
        found = 100.0
        found *= 1.5 if each.version == 1 else 1.0
        found *= 1.2 if each.precision == "f32" else 1.0
        found *= 1.3 if (each.threads, each.streams) == (4, 4) else 1.0
        found *= 1.1 if each.token_budget == 4096 else 1.0
        return found * (1 + 0.01 * (turn % 3))

    laboratory = KnownLaboratory(speed)
    default = Candidate.default(2, FOUR_CORES)
    found = tune(default, [1, 2], FOUR_CORES, laboratory, Goal(), rounds=4)

    assert (default.threads, default.streams, default.precision) == (8, 2, "bf16")
    assert found.chosen == Candidate(
        version=1, threads=4, streams=4, precision="f32", token_budget=4096
    )
    assert found.is_better
    assert found.ratio is not None
    assert found.ratio.estimate == pytest.approx(1.5 * 1.2 * 1.3 * 1.1)
    assert len(found.rounds) == 4


def test_candidates_follow_from_the_processors() -> None:
    laboratory = KnownLaboratory(lambda *_: 100.0)
    topology = Topology(threads=16, cores=8, nodes=4)
    tune(Candidate.default(1, topology), [1], topology, laboratory, Goal(), rounds=3)
    _, placed, sent, *_ = laboratory.opened
    places = [(each.candidate.threads, each.candidate.streams) for each in placed]
    assert places == [
        *((8, 1), (8, 2), (8, 4), (8, 8)),
        *((16, 1), (16, 2), (16, 4), (16, 16)),
    ]
    assert [each.candidate.token_budget for each in sent] == [1024, 2048, 4096, 8192]


def test_a_cpu_that_is_slower_in_bf16_begins_with_f32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "own_precision", lambda: "f32")
    assert Candidate.default(2, FOUR_CORES).precision == "f32"


def test_a_cpu_without_bf16_has_no_race_of_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_flags", lambda: {"avx2"})
    laboratory = KnownLaboratory(lambda *_: 100.0)
    one = Topology(threads=1, cores=1, nodes=1)
    tune(Candidate.default(1, one), [1], one, laboratory, Goal(), rounds=3)
    sent = laboratory.opened[0]
    assert {each.candidate.precision for each in sent} == {"f32"}


def test_the_slower_half_drops_out_and_those_left_have_more_turns() -> None:
    laboratory = KnownLaboratory(lambda each, _: float(each.token_budget))
    tune(Candidate.default(1, FOUR_CORES), [1], FOUR_CORES, laboratory, Goal(), rounds=3)
    turns = {each.candidate.token_budget: each.turns for each in laboratory.opened[2]}
    assert turns == {1024: 2, 2048: 2, 4096: 6, 8192: 6}


def test_the_default_stays_where_nothing_is_faster() -> None:
    laboratory = KnownLaboratory(lambda each, _: 100.0 + (each == Candidate.default(1, FOUR_CORES)))
    default = Candidate.default(1, FOUR_CORES)
    found = tune(default, [1], FOUR_CORES, laboratory, Goal(), rounds=3)
    assert found.ratio is None
    assert found.chosen == found.best == default


def test_the_default_stays_where_the_winner_may_be_chance() -> None:
    """It wins its race, and is faster in half of the turns that count."""
    noise = iter([100.0, 110.0] * 6)

    def speed(each: Candidate, turn: int) -> float:
        if len(laboratory.opened) <= 3:
            return 200.0 if each.token_budget == 1024 else 100.0
        return next(noise)

    laboratory = KnownLaboratory(speed)
    default = Candidate.default(1, FOUR_CORES)
    found = tune(default, [1], FOUR_CORES, laboratory, Goal(), rounds=6)
    assert found.best.token_budget == 1024
    assert found.ratio is not None
    assert found.ratio.low < 1 < found.ratio.high
    assert found.chosen == default


def test_what_the_repository_has_races_too_and_can_win() -> None:
    default = Candidate.default(1, FOUR_CORES)
    present = replace(default, threads=3, streams=3, precision="f16")
    laboratory = KnownLaboratory(lambda each, _: 200.0 if each == present else 100.0)
    found = tune(default, [1], FOUR_CORES, laboratory, Goal(), rounds=3, present=present)
    assert found.present == found.chosen == present


def test_what_the_repository_has_races_once_where_it_is_tried_anyway() -> None:
    default = Candidate.default(1, FOUR_CORES)
    laboratory = KnownLaboratory(lambda *_: 100.0)
    present = replace(default, threads=4, streams=4)
    tune(default, [1], FOUR_CORES, laboratory, Goal(), rounds=3, present=present)
    placed = [each.candidate for each in laboratory.opened[1]]
    assert placed.count(present) == 1


@pytest.mark.parametrize(("noise", "decided"), [(1.04, True), (1.2, False)])
def test_what_is_measured_in_noise_is_not_decided(noise: float, decided: bool) -> None:
    def speed(each: Candidate, turn: int) -> float:
        return 2000.0 * noise ** (turn % 2) if each.token_budget == 1024 else 1000.0

    default = Candidate.default(1, FOUR_CORES)
    found = tune(default, [1], FOUR_CORES, KnownLaboratory(speed), Goal(), rounds=6)
    assert found.ratio is not None
    assert found.ratio.low > 1
    assert found.best.token_budget == 1024
    assert found.is_decided is found.is_better is decided
    assert found.chosen == (found.best if decided else default)
    assert found.to_dict()["is_decided"] is decided


def test_each_turn_is_counted() -> None:
    seen: list[str] = []
    laboratory = KnownLaboratory(lambda each, _: float(each.token_budget))
    default = Candidate.default(1, FOUR_CORES)
    tune(default, [1], FOUR_CORES, laboratory, Goal(), rounds=3, on_turn=seen.append)
    assert seen[:2] == ["race 1 of 3", "race 1 of 3, turn 1 of 8"]
    assert len(set(seen)) == len(seen)
    turning = [each for each in seen if "turn" in each]
    assert all(each.endswith("min left") for each in turning[1:])
    for words, count in (("race 3 of 3", 16), ("the best against the default", 6)):
        turns = [each.rpartition(", about")[0] for each in turning if each.startswith(words)]
        assert turns == [f"{words}, turn {turn} of {count}" for turn in range(1, count + 1)]
    assert len(turning) == sum(each.turns for race in laboratory.opened for each in race)


def test_a_promise_counts_the_highest_rate() -> None:
    laboratory = KnownLaboratory(lambda each, _: 1000.0 * each.streams)
    goal = Goal(objective=Objective(milliseconds=100.0))
    found = tune(Candidate.default(1, FOUR_CORES), [1], FOUR_CORES, laboratory, goal, rounds=3)
    assert (found.chosen.threads, found.chosen.streams) == (8, 8)
    assert found.rounds == [(20.0, 80.0)] * 3
    assert str(goal) == "the highest rate at which 99 % take 100 ms or less"


def test_questions_that_are_not_answered_do_not_count_as_speed() -> None:
    laboratory = KnownLaboratory(lambda each, _: float(each.token_budget), {"DeadlineExceeded": 1})
    default = Candidate.default(1, FOUR_CORES)
    with pytest.raises(BertQAError, match="questions were not answered: nothing can be compared"):
        tune(default, [1], FOUR_CORES, laboratory, Goal(), rounds=3)
