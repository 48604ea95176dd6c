from __future__ import annotations

import pytest

from bertqa.artifact import Scores
from bertqa.errors import QualityGateError
from bertqa_build.errors import BuildError
from bertqa_build.gate import judge, require_passed


def scores(f1: float, dataset: str = "dev.json") -> Scores:
    return Scores(dataset, 200, f1 - 10, f1)


@pytest.mark.parametrize(
    ("f1", "passed"), [(80.0, True), (81.0, True), (79.5, True), (79.4, False)]
)
def test_a_drop_up_to_the_limit_passes(f1: float, passed: bool) -> None:
    result = judge(scores(f1), scores(80.0), max_f1_drop=0.5, force=False)
    assert result.passed is passed
    if passed:
        require_passed(result, scores(f1), "work")
    else:
        with pytest.raises(QualityGateError, match=r"79\.40.*80\.00.*allows 0\.5.*kept in work"):
            require_passed(result, scores(f1), "work")


def test_force_publishes_and_is_written_down() -> None:
    result = judge(scores(70.0), scores(80.0), max_f1_drop=0.5, force=True)
    require_passed(result, scores(70.0), "work")
    assert result.to_dict() == {
        "passed": False,
        "forced": True,
        "f1_drop": 10.0,
        "max_f1_drop": 0.5,
        "parent_f1": 80.0,
        "parent_exact_match": 70.0,
    }


def test_force_is_not_written_down_where_it_was_not_needed() -> None:
    result = judge(scores(80.0), scores(80.0), max_f1_drop=0.5, force=True)
    assert result.to_dict()["forced"] is False


def test_scores_of_different_questions_are_not_compared() -> None:
    with pytest.raises(BuildError, match="different questions"):
        judge(scores(80.0), scores(80.0, "train.json"), max_f1_drop=0.5, force=False)
