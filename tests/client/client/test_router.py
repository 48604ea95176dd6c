from __future__ import annotations

from collections import Counter

import pytest

from bertqa.client._router import WeightedRouter
from bertqa.errors import InvalidOptionError

KEYS = [f"user-{number}" for number in range(4000)]


def test_keys_are_split_by_weight() -> None:
    counts = Counter(WeightedRouter({1: 90, 2: 10}).pick(key) for key in KEYS)
    assert counts[2] / len(KEYS) == pytest.approx(0.10, abs=0.02)


def test_questions_without_a_key_are_split_by_weight() -> None:
    traffic = WeightedRouter({1: 3, 2: 1})
    counts = Counter(traffic.pick(None) for _ in range(4000))
    assert counts[2] / 4000 == pytest.approx(0.25, abs=0.04)


def test_a_key_keeps_its_version_in_every_process() -> None:
    traffic = WeightedRouter({1: 50, 2: 50})
    assert [traffic.pick(f"user-{number}") for number in range(12)] == [
        WeightedRouter({2: 50, 1: 50}).pick(f"user-{number}") for number in range(12)
    ]
    assert [traffic.pick(key) for key in ("user-17", "user-18", "ключ", "\ud800")] == [1, 2, 1, 1]


def test_a_change_of_weights_moves_only_the_keys_that_it_must() -> None:
    before, after = WeightedRouter({1: 90, 2: 10}), WeightedRouter({1: 70, 2: 30})
    moved = [(before.pick(key), after.pick(key)) for key in KEYS]
    assert (2, 1) not in moved
    assert moved.count((1, 2)) / len(KEYS) == pytest.approx(0.20, abs=0.03)


def test_a_version_of_weight_zero_gets_nothing() -> None:
    assert {WeightedRouter({1: 1, 2: 0}).pick(key) for key in KEYS} == {1}


@pytest.mark.parametrize(
    "weights", [{}, {1: 0}, {1: -1}, {0: 1}, {1: float("nan")}, {1: float("inf")}]
)
def test_weights_that_cannot_be_are_refused(weights: dict[int, float]) -> None:
    with pytest.raises(InvalidOptionError, match="traffic"):
        WeightedRouter(weights)
