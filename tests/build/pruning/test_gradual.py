"""The steps of a pruning, and what is refused before any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertqa_build.pruning.gradual import Step, speedups_of, steps_of
from bertqa_build.recipe import load_recipe
from bertqa_build.recipe_data import key_of

RECIPE = """\
name: x
source: y
data: {train: [a.json], evaluation: b.json}
pruning:
  speedup: [1.5, 3]
  steps: 2
"""


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


def test_each_step_trains_at_its_own_rate_and_a_changed_rate_leaves_the_steps_before_it_alone(
    tmp_path: Path,
) -> None:
    def steps(rates: str) -> list[Step]:
        path = tmp_path / "recipe.yaml"
        path.write_text(f"{RECIPE}  learning_rate: {rates}\n", encoding="utf-8")
        recipe = load_recipe(path)
        digests = {key_of(each): "0" for each in recipe.calibration + recipe.data.train}
        return steps_of(recipe, "fp32", "table", digests)

    def rates(found: list[Step]) -> list[float | None]:
        return [each.training.learning_rate if each.training else None for each in found]

    one, first, last = steps("1.0e-4"), steps("[1.0e-5, 1.0e-4]"), steps("[1.0e-5, 2.0e-4]")
    assert rates(one) == [1e-4, 1e-4]
    assert rates(last) == [1e-5, 2e-4]
    assert first[0].fingerprint == last[0].fingerprint != one[0].fingerprint
    assert first[1].fingerprint != last[1].fingerprint
    assert steps("[1.0e-4, 1.0e-4]")[1].fingerprint == one[1].fingerprint
