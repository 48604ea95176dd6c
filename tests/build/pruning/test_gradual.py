"""The steps of a pruning, and what is refused before any of them."""

from __future__ import annotations

import pytest

from bertqa_build.pruning.gradual import speedups_of


@pytest.mark.parametrize(
    ("asked", "steps", "expected"),
    [
        ((2.0,), 1, [2.0]),
        ((4.0,), 2, [2.0, 4.0]),
        ((8.0,), 3, [2.0, 4.0, 8.0]),
        ((1.5, 2.0, 3.0), 2, [1.5, 2.0, 3.0]),
        ((1.1, 4.4), 3, [1.1, 2.2, 4.4]),
        ((4.0, 8.0), 4, [4 ** (1 / 3), 4 ** (2 / 3), 4.0, 8.0]),
    ],
)
def test_steps_are_added_where_the_most_is_lost_at_once(
    asked: tuple[float, ...], steps: int, expected: list[float]
) -> None:
    found = speedups_of(asked, steps)
    assert found == pytest.approx(expected)
    assert set(asked) <= set(found)
