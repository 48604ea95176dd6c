from __future__ import annotations

from typing import Any

import pytest

from bertqa_build.errors import BuildError, QualityGateError
from bertqa_build.gate import judge, require_passed


def scores(f1: float, dataset: str = "dev.json") -> dict[str, Any]:
    return {"dataset": dataset, "questions": 200, "f1": f1, "exact_match": f1 - 10}


@pytest.mark.parametrize(
    ("f1", "passed"), [(80.0, True), (81.0, True), (79.5, True), (79.4, False)]
)
def test_a_drop_up_to_the_limit_passes(f1: float, passed: bool) -> None:
    verdict = judge(scores(f1), scores(80.0), max_f1_drop=0.5, force=False)
    assert verdict.passed is passed
    if passed:
        require_passed(verdict, "work")
    else:
        with pytest.raises(QualityGateError, match=r"79\.40.*80\.00.*allows 0\.5.*kept in work"):
            require_passed(verdict, "work")


def test_force_publishes_and_is_written_down() -> None:
    verdict = judge(scores(70.0), scores(80.0), max_f1_drop=0.5, force=True)
    require_passed(verdict, "work")
    assert verdict.to_dict() == {
        "passed": False,
        "forced": True,
        "f1_drop": 10.0,
        "max_f1_drop": 0.5,
        "parent_f1": 80.0,
        "parent_exact_match": 70.0,
    }


def test_force_is_not_written_down_where_it_was_not_needed() -> None:
    verdict = judge(scores(80.0), scores(80.0), max_f1_drop=0.5, force=True)
    assert verdict.to_dict()["forced"] is False


def test_scores_of_different_questions_are_not_compared() -> None:
    with pytest.raises(BuildError, match="different questions"):
        judge(scores(80.0), scores(80.0, "train.json"), max_f1_drop=0.5, force=False)
