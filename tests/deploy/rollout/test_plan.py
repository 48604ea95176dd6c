"""The steps of a rollout, and plans that contradict themselves."""

from __future__ import annotations

from typing import Any

import pytest

from bertqa.errors import InvalidOptionError
from bertqa_deploy.rollout import Plan, ramp


@pytest.mark.parametrize(
    ("start", "goal", "steps", "way"),
    [
        ({1: 100}, {2: 100}, (100,), [{2: 100}]),
        ({1: 100}, {2: 100}, (5, 50), [{1: 95, 2: 5}, {1: 50, 2: 50}, {2: 100}]),
        ({1: 100}, {1: 90, 2: 10}, (5, 25, 100), [{1: 95, 2: 5}, {1: 90, 2: 10}]),
        ({1: 90, 2: 10}, {2: 100}, (5, 25, 100), [{1: 75, 2: 25}, {2: 100}]),
        ({1: 60, 2: 40}, {3: 100}, (50,), [{1: 30, 2: 20, 3: 50}, {3: 100}]),
        ({1: 100}, {1: 100}, (50,), [{1: 100}]),
    ],
)
def test_the_way_from_one_split_to_another(
    start: dict[int, float],
    goal: dict[int, float],
    steps: tuple[int, ...],
    way: list[dict[int, float]],
) -> None:
    assert ramp(start, goal, steps) == way


@pytest.mark.parametrize(
    "options",
    [
        {"steps": ()},
        {"steps": (50, 5)},
        {"steps": (0, 100)},
        {"steps": (50, 101)},
        {"interval_seconds": 0},
        {"pause_seconds": -1.0},
        {"pause_seconds": 10.0, "delay_seconds": 10.0},
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError):
        Plan(**options)
