"""Whether a difference on the same questions is more than chance; `scipy.stats` computes it.

The interval is Efron's percentile bootstrap over paired differences, Student's where they are few;
the test is McNemar's in its exact, binomial form (Fagerland, Lydersen and Laake 2013). scipy is
imported where it is used: scoring a version does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
RESAMPLES = 10_000
_SEED = 20_240_229
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval that holds the true value with 95 % confidence."""

    estimate: float
    low: float
    high: float

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class McNemar:
    """How often only one of two was right, and how likely so uneven a count is by chance."""

    only_first: int
    only_second: int
    p: float


def bootstrap_mean(differences: ArrayLike, resamples: int = RESAMPLES) -> Interval:
    """Return the mean of paired differences and its interval.

    Args:
        differences: The differences `[n]`, of any unit, at least one.
        resamples: The number of resamples.

    Returns:
        The mean with its interval, the same for the same differences.
    """
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, mean, mean)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _CELLS_AT_ONCE // len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high))


def student_mean(differences: ArrayLike) -> Interval:
    """Return the mean of few paired differences and its interval by Student's t.

    With less than some twenty of them a bootstrap is too sure.

    Args:
        differences: The differences `[n]`, of any unit, at least two.
    """
    from scipy import stats

    values = np.asarray(differences, dtype=np.float64)
    mean = float(values.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Test whether two systems are right equally often on the same questions, two-sided.

    Args:
        first: Whether the first was right, by question `[n]`.
        second: Whether the second was right, by question `[n]`.

    Returns:
        The counts of both kinds and the p-value.
    """
    from scipy import stats

    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((one & ~other).sum()), int((~one & other).sum())
    discordant = only_first + only_second
    p = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def wilson(successes: int, trials: int) -> Interval:
    """Return a share, from 0 to 1, and its interval (Wilson 1927).

    Args:
        successes: The number of successes, from 0 to `trials`.
        trials: The number of trials.

    Returns:
        The share with its interval; 0, from 0 to 1, where there were no trials.
    """
    return _share(successes, trials, "wilson")


def clopper_pearson(successes: int, trials: int) -> Interval:
    """Return a share, from 0 to 1, and its exact interval (Clopper and Pearson 1934).

    It is wider than Wilson's, and never leaves out the true share more often than it says: the one
    to take where the share is small and something follows from it.

    Args:
        successes: The number of successes, from 0 to `trials`.
        trials: The number of trials.

    Returns:
        The share with its interval; 0, from 0 to 1, where there were no trials.
    """
    return _share(successes, trials, "exact")


def _share(successes: int, trials: int, method: str) -> Interval:
    from scipy import stats

    if not trials:
        return Interval(0.0, 0.0, 1.0)
    found = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method=method)
    return Interval(successes / trials, float(found.low), float(found.high))
