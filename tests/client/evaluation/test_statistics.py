from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bertqa.evaluation._statistics import (
    Interval,
    bootstrap_mean,
    clopper_pearson,
    mcnemar,
    wilson,
)


def test_the_interval_is_that_of_scipy_s_percentile_bootstrap() -> None:
    rng = np.random.default_rng(1)
    values = rng.choice([-100.0, -40, 0, 0, 0, 30, 100], 500)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    ours = bootstrap_mean(values)
    assert ours.estimate == values.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.3)


def test_the_interval_is_the_same_every_time() -> None:
    values = np.random.default_rng(3).normal(size=100)
    assert bootstrap_mean(values) == bootstrap_mean(values)


def test_one_difference_has_no_interval_to_resample() -> None:
    assert bootstrap_mean([3.0]) == Interval(3.0, 3.0, 3.0)


def test_an_interval_beyond_zero_is_beyond_chance() -> None:
    assert bootstrap_mean(np.full(50, 2.0)).is_beyond_chance
    assert bootstrap_mean([-1.0, -2.0, -1.5] * 20).is_beyond_chance
    assert not bootstrap_mean([-1.0, 1.0] * 20).is_beyond_chance
    assert not bootstrap_mean([0.0] * 20).is_beyond_chance


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (1, 0), (3, 9), (40, 41), (900, 1)]
)
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(
    only_first: int, only_second: int
) -> None:
    first = [1] * only_first + [0] * only_second + [1, 1, 0]
    second = [0] * only_first + [1] * only_second + [1, 1, 0]
    found = mcnemar(first, second)
    discordant = only_first + only_second
    expected = stats.binomtest(only_first, discordant).pvalue if discordant else 1.0
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 8), (50, 100), (10, 10)])
def test_the_interval_of_a_share_is_wilson_s(successes: int, trials: int) -> None:
    theirs = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    ours = wilson(successes, trials)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_tried_proves_nothing() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


def test_the_exact_interval_of_a_share_is_clopper_and_pearson_s() -> None:
    theirs = stats.binomtest(3, 100).proportion_ci(method="exact")
    ours = clopper_pearson(3, 100)
    assert (ours.estimate, ours.low, ours.high) == (0.03, theirs.low, theirs.high)
    assert ours.low < wilson(3, 100).low
