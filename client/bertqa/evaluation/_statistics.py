"""Whether a difference on the same questions is more than chance.

The interval is Efron's percentile bootstrap over paired differences; the test is McNemar's in its
exact, binomial form (Fagerland, Lydersen and Laake 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    """Return the mean of paired differences `[n]` and its interval; the same for the same input."""
    values: NDArray[np.float64] = np.asarray(differences, dtype=np.float64)
    rng = np.random.default_rng(_SEED)
    at_once = max(1, _CELLS_AT_ONCE // len(values))
    means: list[NDArray[np.float64]] = []
    for done in range(0, resamples, at_once):
        chosen = rng.integers(0, len(values), (min(at_once, resamples - done), len(values)))
        means.append(values[chosen].mean(axis=1))
    quantiles = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), quantiles)
    return Interval(float(values.mean()), float(low), float(high))


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Test two arrays `[n]` of right and wrong, on the same questions, two-sided."""
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((one & ~other).sum()), int((~one & other).sum())
    discordant = only_first + only_second
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, float(Fraction(2 * tail, 2**discordant))))


def wilson(successes: int, trials: int) -> Interval:
    """Return a share and its 95 % interval (Wilson 1927)."""
    if not trials:
        return Interval(0.0, 0.0, 1.0)
    z = 1.959963984540054
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    half /= 1 + z * z / trials
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))
