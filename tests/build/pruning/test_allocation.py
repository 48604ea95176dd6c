"""How much is taken from where."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from bertqa_build.pruning.allocation import Choices, allocate, search


def modules(count: int, seed: int = 0) -> list[Choices]:
    """Return modules with four sizes each: the larger, the slower and the better."""
    chance = np.random.default_rng(seed)
    sizes = np.arange(4)
    return [
        Choices(
            sizes,
            np.sort(chance.uniform(0.2, 2, 4)),
            np.sort(chance.uniform(0, 1, 4))[::-1].copy(),
        )
        for _ in range(count)
    ]


def time_of(offered: Sequence[Choices], chosen: Sequence[int]) -> float:
    return sum(float(each.times[at]) for each, at in zip(offered, chosen, strict=True))


def error_of(offered: Sequence[Choices], chosen: Sequence[int]) -> float:
    return sum(float(each.errors[at]) for each, at in zip(offered, chosen, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_sizes_within_the_time_have_a_smaller_error(seed: int) -> None:
    offered = modules(5, seed)
    budget = 0.6 * time_of(offered, [3] * 5)

    chosen = allocate(offered, budget)

    assert time_of(offered, chosen) <= budget
    fitting = [
        each
        for each in itertools.product(range(4), repeat=5)
        if time_of(offered, each) <= 0.999 * budget
    ]
    assert error_of(offered, chosen) <= min(error_of(offered, each) for each in fitting) + 1e-9


def test_the_whole_time_leaves_all_and_the_least_time_the_smallest_sizes() -> None:
    offered = modules(6)
    assert allocate(offered, time_of(offered, [3] * 6)) == [3] * 6
    assert allocate(offered, time_of(offered, [0] * 6)) == [0] * 6


def test_a_time_that_cannot_be_reached_is_refused() -> None:
    offered = modules(3)
    with pytest.raises(ValueError, match="smallest sizes take longer"):
        allocate(offered, 0.99 * time_of(offered, [0] * 3))


def test_an_error_that_counts_more_is_made_smaller() -> None:
    offered = [modules(1)[0]] * 2
    budget = 0.7 * time_of(offered, [3, 3])
    first, second = allocate(offered, budget, np.array([50.0, 1.0]))
    assert first > second
    assert allocate(offered, budget, np.array([1.0, 50.0])) == [second, first]


def test_the_search_finds_which_module_the_model_needs() -> None:
    offered = modules(8)
    budget = 0.5 * time_of(offered, [3] * 8)
    asked: list[tuple[int, ...]] = []

    def loss(chosen: list[int]) -> float:
        asked.append(tuple(chosen))
        return float(20 * offered[6].errors[chosen[6]] + error_of(offered, chosen))

    reported: list[float] = []
    chosen = search(
        offered, budget, loss, trials=80, seed=0, on_trial=lambda _, least: reported.append(least)
    )

    assert time_of(offered, chosen) <= budget
    assert chosen[6] > allocate(offered, budget)[6]
    assert loss(chosen) == pytest.approx(reported[-1])
    assert reported == sorted(reported, reverse=True)
    assert len(asked) - 1 == len(set(asked)), "a choice is judged once"
    again = search(offered, budget, loss, trials=80, seed=0)
    assert again == chosen
