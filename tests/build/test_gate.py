from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from bertqa.artifact import GateResult, Scores, VersionManifest
from bertqa.errors import DataError, QualityGateError
from bertqa.evaluation import QuestionScores, parse_squad
from bertqa_build.errors import BuildError, RecipeError
from bertqa_build.gate import (
    Loss,
    judge,
    judge_again,
    require_judging,
    require_passed,
    require_possible,
)
from bertqa_build.recipe import Gate
from bertqa_build.result import Scored

NOT_PUBLISHED = "The INT8 version is not published"
KEPT = "It is kept in work."


def scores(f1: float, dataset: str = "dev.json") -> Scores:
    return Scores(dataset, 200, f1 - 10, f1)


def loss(f1: float, parent: float, latency_ratio: float | None = None) -> Loss:
    return Loss.between(Scored(scores(f1), None), Scored(scores(parent), None), latency_ratio)


def scored(values: Sequence[float] | NDArray[np.float64], digest: str = "a") -> Scored:
    """What a version scored that has an F1 of `values` on its questions."""
    f1 = np.array(values, dtype=np.float64)
    ids = tuple(number.to_bytes(5) for number in range(len(f1)))
    mean = 100 * float(f1.mean())
    return Scored(Scores("dev.json", len(f1), mean, mean), QuestionScores(digest, ids, f1 == 1, f1))


def judged(version: Scored, parent: Scored, limits: Gate) -> GateResult:
    return judge(version.scores, limits, loss=Loss.between(version, parent))


@pytest.mark.parametrize(
    ("f1", "passed"), [(80.0, True), (81.0, True), (79.5, True), (79.4, False)]
)
def test_a_drop_up_to_the_limit_passes(f1: float, passed: bool) -> None:
    result = judge(scores(f1), Gate(), loss=loss(f1, 80.0))
    assert result.passed is passed
    if passed:
        require_passed(result, scores(f1), NOT_PUBLISHED, KEPT)
    else:
        with pytest.raises(QualityGateError, match=r"79\.40.*80\.00.*allows 0\.5.*kept in work"):
            require_passed(result, scores(f1), NOT_PUBLISHED, KEPT)


def test_force_publishes_and_is_written_down() -> None:
    result = judge(scores(70.0), Gate(), loss=loss(70.0, 80.0), force=True)
    require_passed(result, scores(70.0), NOT_PUBLISHED, KEPT)
    found = result.to_dict()
    assert "gate.max_f1_drop allows 0.5" in found.pop("reasons")[0]
    assert "has no interval" in found.pop("notes")[0]
    assert found == {
        "passed": False,
        "forced": True,
        "min_f1": 20.0,
        "min_exact_match": 5.0,
        "f1_drop": 10.0,
        "max_f1_drop": 0.5,
        "parent_f1": 80.0,
        "parent_exact_match": 70.0,
    }


def test_force_is_not_written_down_where_it_was_not_needed() -> None:
    result = judge(scores(80.0), Gate(), loss=loss(80.0, 80.0), force=True)
    assert result.to_dict()["forced"] is False


def test_scores_of_different_questions_are_not_compared() -> None:
    for version, parent in (
        (Scored(scores(80.0), None), Scored(scores(80.0, "train.json"), None)),
        (scored([1.0, 0.5]), scored([1.0, 0.5], digest="b")),
    ):
        with pytest.raises(BuildError, match="different questions"):
            Loss.between(version, parent)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (Scores("dev.json", 200, 1.0, 7.9), ["its F1 is 7.90, and gate.min_f1 asks for 20"]),
        # Random spans in contexts of a sentence or two: words in common, but never the answer.
        (Scores("dev.json", 200, 0.0, 35.1), ["its exact match is 0.00"]),
        # "No answer" to everything, on SQuAD 2.0.
        (
            Scores("dev.json", 200, 50.0, 50.0, 0, 0.0, 0.0, 100.0),
            [
                "its F1 on the questions that have an answer is 0.00, and gate.min_f1 asks for 20",
                "its exact match on the questions that have an answer is 0.00",
            ],
        ),
        # An answer to everything, where few questions have one.
        (Scores("dev.json", 200, 6.0, 8.0, 0, 60.0, 80.0, 0.0), ["its F1 is 8.00"]),
        (Scores("dev.json", 200, 60.0, 70.0, 0, 55.0, 62.0, 78.0), []),
    ],
)
def test_no_version_is_published_that_answers_as_chance_does(
    found: Scores, reasons: list[str]
) -> None:
    result = judge(found, Gate())
    assert result.passed is (not reasons)
    for reason in reasons:
        assert any(each.startswith(reason) for each in result.reasons)
    assert judge(found, Gate(min_f1=0, min_exact_match=0)).passed


def test_each_limit_has_a_reason_of_its_own() -> None:
    limits = Gate(
        min_f1=75, min_exact_match=65, max_f1_drop=1, min_f1_ratio=0.99, max_latency_ratio=0.6
    )
    result = judge(scores(70.0), limits, loss=loss(70.0, 80.0, latency_ratio=0.75))
    keys = ("min_f1 ", "min_exact_match", "max_f1_drop", "min_f1_ratio", "max_latency_ratio")
    assert len(result.reasons) == len(keys)
    for reason, key in zip(result.reasons, keys, strict=True):
        assert f"gate.{key}" in reason
    assert "0.75 times as long" in result.reasons[-1]
    passed = judge(scores(80.0), limits, loss=loss(80.0, 80.0, latency_ratio=0.6))
    assert (passed.passed, passed.latency_ratio) == (True, 0.6)
    assert not judge(scores(80.0), limits, loss=loss(80.0, 80.0)).passed  # It was not timed.


def test_a_ratio_to_nothing_passes() -> None:
    limits = Gate(min_f1=0, min_exact_match=0, min_f1_ratio=1.2)
    nothing = Scores("dev.json", 200, 0.0, 0.0)
    against_nothing = Loss.between(Scored(nothing, None), Scored(nothing, None))
    assert judge(nothing, limits, loss=against_nothing).passed


def test_the_drop_has_an_interval_and_decides_where_the_data_are_enough() -> None:
    rng = np.random.default_rng(1)
    parent = rng.random(2000)
    result = judged(
        scored(parent - 0.02 * (rng.random(2000) > 0.5)), scored(parent), Gate(max_f1_drop=1.5)
    )
    assert result.f1_drop_low is not None
    assert result.f1_drop_high is not None
    assert result.f1_drop == pytest.approx(1.0, abs=0.1)
    assert 0.9 < result.f1_drop_low < result.f1_drop_high < 1.1
    assert (result.passed, result.notes) == (True, ())


@pytest.mark.parametrize(
    ("parent", "version", "allowed", "note"),
    [
        # The same answers, but on four questions nothing smaller than 25 points shows.
        ([1, 1, 1, 0], [1, 1, 1, 0], 1.0, "one question alone can make 25.00"),
        ([1], [1], 1.0, "1 questions are too few"),
        # One question better, one worse, in 200.
        ([1, 0] * 100, [1, 0] * 99 + [0, 1], 1.5, "95 % interval, -1.50 to +1.50, is wider"),
    ],
)
def test_too_few_data_are_said_and_the_estimate_decides(
    parent: list[float], version: list[float], allowed: float, note: str
) -> None:
    limits = Gate(min_f1=0, min_exact_match=0, max_f1_drop=allowed)
    result = judged(scored(version), scored(parent), limits)
    assert result.passed
    assert note in result.notes[0]
    assert "judged by its estimate" in result.notes[0]


def test_a_drop_that_may_be_larger_is_said() -> None:
    rng = np.random.default_rng(1)
    parent = rng.random(2000)
    version = parent - 0.02 * (rng.random(2000) > 0.5)
    result = judged(scored(version), scored(parent), Gate(max_f1_drop=1.01))
    assert result.passed
    assert "is not sure" in result.notes[0]


def test_a_published_version_is_judged_again_by_what_its_manifest_says() -> None:
    first = judge(scores(79.0), Gate(max_f1_drop=1.5), loss=loss(79.0, 80.0))
    manifest = VersionManifest("bert-qa", 2, "INT8", "", "", "", {}, scores(79.0), gate=first)
    assert judge_again(manifest, Gate(max_f1_drop=1.5)).passed
    refused = judge_again(manifest, Gate(max_f1_drop=0.5))
    assert "1.00 below the 80.00" in refused.reasons[0]
    assert not judge_again(manifest, Gate(max_f1_drop=1.5, min_f1=90)).passed


def test_a_gate_that_no_version_can_pass_is_refused() -> None:
    require_possible(Gate(min_f1_ratio=1.2), scores(80.0))
    with pytest.raises(RecipeError, match=r"1\.3 times the F1 .* 80\.00, is 104\.00"):
        require_possible(Gate(min_f1_ratio=1.3), scores(80.0))


def test_questions_without_any_answer_judge_no_version() -> None:
    record = {"id": "1", "question": "Who?", "context": "A bridge.", "answers": []}
    nothing = parse_squad([record], "none.json")
    with pytest.raises(DataError, match=r"No question of none\.json has an answer"):
        require_judging(Gate(), nothing)
    require_judging(Gate(min_f1=0, min_exact_match=0), nothing)
    answers = [{"text": "bridge", "answer_start": 2}]
    require_judging(Gate(), parse_squad([record, {**record, "id": "2", "answers": answers}], "x"))
