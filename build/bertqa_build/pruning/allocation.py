"""How much is taken from where: the least loss within a time.

Each module of the encoder is offered in several sizes, each with a time and an error. Dynamic
programming finds the sizes of the least total error whose times fit a budget. An error of one layer
harms the model's answers more than the same of another: how much more is searched for, judged by
the loss on calibration data (SPDY, Frantar and Alistarh, "SPDY: Accurate Pruning with Speedup
Guarantees", 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BUCKETS = 4_000
_STEP = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """The sizes that one module can have.

    Attributes:
        sizes: INT64 `[choices]`: how many structures are left.
        times: FP64 `[choices]`: how long the module takes, in any unit.
        errors: FP64 `[choices]`: the error that it makes.
    """

    sizes: NDArray[np.int64]
    times: NDArray[np.float64]
    errors: NDArray[np.float64]


def allocate(
    modules: Sequence[Choices], budget: float, weights: NDArray[np.float64] | None = None
) -> list[int]:
    """Choose a size for each module, for the least total error within a time.

    Args:
        modules: The modules.
        budget: The time for all together, in the unit of theirs.
        weights: FP64 `[modules]`: what an error of each counts; all the same if left out.

    Returns:
        The index of the choice of each module.

    Raises:
        ValueError: Even the smallest sizes take longer.
    """
    weights = np.ones(len(modules)) if weights is None else weights
    if sum(float(module.times.min()) for module in modules) > budget:
        raise ValueError("Even the smallest sizes take longer.")
    best_of_each = [int(np.argmin(module.errors)) for module in modules]
    if sum(map(_time, modules, best_of_each)) <= budget:
        return best_of_each
    # Times are rounded up, so that the sum never exceeds the budget; the smallest of each module is
    # taken off before, so that what is reached exactly stays within reach.
    least = [float(module.times.min()) for module in modules]
    room = budget - sum(least)
    unit = max(room, 1e-9 * budget) / _BUCKETS
    best = np.zeros(_BUCKETS + 1)
    taken: list[NDArray[np.int64]] = []
    for module, weight, first in zip(modules, weights, least, strict=True):
        following = np.full(_BUCKETS + 1, np.inf)
        choice = np.zeros(_BUCKETS + 1, dtype=np.int64)
        for index in range(len(module.sizes)):
            steps = int(np.ceil((module.times[index] - first) / unit - 1e-9))
            if steps > _BUCKETS:
                continue
            total = np.full(_BUCKETS + 1, np.inf)
            total[steps:] = best[: _BUCKETS + 1 - steps] + weight * module.errors[index]
            better = total < following
            following[better] = total[better]
            choice[better] = index
        best = following
        taken.append(choice)
    at = int(np.argmin(best))
    chosen = []
    for module, choice, first in zip(
        reversed(modules), reversed(taken), reversed(least), strict=True
    ):
        index = int(choice[at])
        chosen.append(index)
        at -= int(np.ceil((module.times[index] - first) / unit - 1e-9))
    return chosen[::-1]


def _time(module: Choices, choice: int) -> float:
    return float(module.times[choice])


def search(
    modules: Sequence[Choices],
    budget: float,
    loss: Callable[[list[int]], float],
    *,
    trials: int,
    seed: int,
    on_trial: Callable[[int, float], None] = lambda _, __: None,
) -> list[int]:
    """Find out what an error of each module counts, and choose the sizes by that.

    A trial changes the weights of some modules at random, and stays where the model's loss is
    lower. Choices that were judged before are not judged again.

    Args:
        modules: The modules.
        budget: The time for all together, in the unit of theirs.
        loss: Returns the model's loss on calibration data for a choice of each module.
        trials: How many changes are tried.
        seed: Decides the changes.
        on_trial: Called after each trial with its number and the least loss so far.

    Returns:
        The index of the choice of each module.

    Raises:
        ValueError: Even the smallest sizes take longer.
    """
    chance = np.random.default_rng(seed)
    logs = np.zeros(len(modules))
    chosen = allocate(modules, budget)
    judged = {tuple(chosen): loss(chosen)}
    least = judged[tuple(chosen)]
    for trial in range(trials):
        changed = logs.copy()
        count = max(1, round(len(modules) * _STEP))
        places = chance.choice(len(modules), size=count, replace=False)
        changed[places] += chance.normal(scale=1.0, size=count)
        candidate = allocate(modules, budget, np.exp(changed))
        key = tuple(candidate)
        if key not in judged:
            judged[key] = loss(candidate)
        if judged[key] <= least:
            logs, chosen, least = changed, candidate, judged[key]
        on_trial(trial + 1, least)
    return chosen
