"""Timing calls: repeated, in turns, and summed up by their median."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one quantity, at least one."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """The range of the values as a share of their median."""
        return (max(self.values) - min(self.values)) / self.median

    def quantile(self, share: float) -> float:
        """Return the value that a share, from 0 to 1, of the values does not exceed.

        Args:
            share: From 0 to 1.

        Returns:
            The quantile, in the unit of the values.
        """
        return float(np.quantile(self.values, share))


def time_call(call: Callable[[], object], at_least: float = 0.0) -> float:
    """Time a call.

    Args:
        call: What is timed.
        at_least: Call it again and again until so many seconds are over.

    Returns:
        The seconds of one call, the mean where there were several.
    """
    calls, begun = 0, time.perf_counter()
    while True:
        call()
        calls += 1
        elapsed = time.perf_counter() - begun
        if elapsed >= at_least:
            return elapsed / calls


def take_turns(
    measures: Mapping[Key, Callable[[], Result]],
    turns: int,
    *,
    alternate: bool = False,
    on_turn: Callable[[int], None] = lambda _: None,
) -> dict[Key, list[Result]]:
    """Measure several things in turns, so that whatever slows the machine slows all of them.

    Args:
        measures: What measures each thing once, by its name.
        turns: How often each is measured.
        alternate: Whether every second turn goes through them backwards, for things where the
            one that comes later has an advantage.
        on_turn: Called after each turn with the number of turns that are done.

    Returns:
        The results of each, in the order of the turns.
    """
    results: dict[Key, list[Result]] = {name: [] for name in measures}
    for turn in range(turns):
        order = reversed(list(measures)) if alternate and turn % 2 else list(measures)
        for name in order:
            results[name].append(measures[name]())
        on_turn(turn + 1)
    return results
