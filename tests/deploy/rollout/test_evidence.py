"""A data set as evidence, judged on comparisons whose numbers are known."""

from __future__ import annotations

import pytest

from bertqa.evaluation import Comparison, Interval, Metrics
from bertqa.evaluation._statistics import McNemar
from bertqa_deploy.rollout import Copies, Limits, Verdict, judge_comparison, judge_copies


def compared(
    change: tuple[float, float, float] = (0.1, -1, 1),
    uneven: tuple[int, int, float] = (3, 4, 1.0),
    agreement: float = 95.0,
    questions: int = 200,
) -> Comparison:
    measured = (
        Metrics(f"version {version}", 60.0, 70.0, 10.0, 20.0, 50.0, None) for version in (1, 2)
    )
    first, second = measured
    return Comparison(
        "dev.json",
        questions,
        (first, second),
        agreement,
        Interval(*change),
        McNemar(*uneven),
        [],
    )


def test_a_candidate_that_is_not_worse_beyond_chance_passes() -> None:
    judgement = judge_comparison(compared((-0.5, -1.4, 0.4)), Limits())
    assert judgement.verdict is Verdict.SUCCESSFUL


@pytest.mark.parametrize(
    "comparison",
    [compared(change=(-2.0, -3.1, -0.9)), compared(uneven=(20, 5, 0.004))],
)
def test_a_candidate_that_is_worse_beyond_chance_fails(comparison: Comparison) -> None:
    judgement = judge_comparison(comparison, Limits())
    assert judgement.verdict is Verdict.FAILED
    assert "version 2" in judgement.reason.lower()


def test_a_better_candidate_passes() -> None:
    better = compared((2.0, 0.9, 3.1), (5, 20, 0.004))
    assert judge_comparison(better, Limits()).verdict is Verdict.SUCCESSFUL


def test_versions_that_differ_too_often_fail() -> None:
    judgement = judge_comparison(compared(agreement=70), Limits(disagreement_percent=25))
    assert judgement.verdict is Verdict.FAILED
    assert judgement.reason == (
        "The versions disagree on 30.0 % of 200 questions, and 25 % are allowed."
    )


def test_too_few_questions_show_nothing() -> None:
    judgement = judge_comparison(compared(questions=3), Limits())
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == (
        "dev.json has 3 of at least 20 questions: add some, or lower --min-requests."
    )


def copies(
    asked: int = 100,
    differing: int = 0,
    failed: int = 0,
    hashed: int = 0,
    ms: tuple[float, float] = (10, 10),
) -> Copies:
    answered = asked - failed
    seconds = [ms[0] / 1000] * answered, [ms[1] / 1000] * answered
    return Copies(asked, differing, failed, hashed, seconds)


def test_copies_that_are_answered_alike_pass() -> None:
    judgement = judge_copies(copies(differing=2), Limits())
    assert judgement.verdict is Verdict.SUCCESSFUL
    assert judgement.reason == (
        "Of 100 copies 2.0 % were answered differently, 95th percentile 10.0 ms against 10.0 ms of "
        "the good version (1.5 times that are allowed)."
    )


@pytest.mark.parametrize(
    ("seen", "complaint"),
    [
        (copies(differing=60), "60.0 % were answered differently"),
        (copies(failed=10), "10.0 % failed"),
        (copies(asked=4, failed=4), "100.0 % failed"),
        (copies(ms=(10, 40)), "95th percentile of its latency is 40.0 ms"),
    ],
)
def test_copies_that_show_a_worse_candidate_fail_it(seen: Copies, complaint: str) -> None:
    judgement = judge_copies(seen, Limits())
    assert judgement.verdict is Verdict.FAILED
    assert complaint in judgement.reason


def test_too_few_copies_show_nothing_and_hashes_are_named() -> None:
    few = judge_copies(copies(asked=3), Limits())
    assert few.verdict is Verdict.INCONCLUSIVE
    assert few.reason == (
        "The candidate got 3 of at least 20 copies of questions that the good version answers: "
        "a longer --shadow gets more."
    )

    hashed = judge_copies(copies(asked=0, hashed=50), Limits())
    assert hashed.verdict is Verdict.INCONCLUSIVE
    assert "50 recorded questions are hashes: record with contexts=True." in hashed.reason


@pytest.mark.parametrize(
    ("seen", "complaint"),
    [
        (copies(asked=20, failed=2), "2 of 20 copies failed, which is between"),
        (copies(asked=20, differing=6), "6 of 20 copies were answered differently"),
    ],
)
def test_shares_of_copies_that_chance_may_explain_are_inconclusive(
    seen: Copies, complaint: str
) -> None:
    judgement = judge_copies(seen, Limits())
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert complaint in judgement.reason
    assert "more copies are needed" in judgement.reason
    assert "a longer --shadow" in judgement.reason


def test_a_candidate_that_answered_no_copy_is_not_judged_by_its_latency() -> None:
    judgement = judge_copies(copies(asked=20, failed=20), Limits(error_percent=100))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.reason == "The candidate answered none of 20 copies."
