"""Evidence about a candidate before any user reaches it: a data set with right answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from bertqa import QAClient
from bertqa._progress import OnProgress, ignore
from bertqa.evaluation import Comparison, SquadDataset, System, compare
from bertqa_deploy.rollout._analysis import Judgement, Limits, Verdict
from bertqa_deploy.rollout._rollout import Evidence

_LEVEL = 0.05

Connect = Callable[[int], AbstractContextManager[QAClient]]


def compared_on(
    dataset: SquadDataset,
    connect: Connect,
    limits: Limits,
    *,
    on_progress: OnProgress = ignore,
) -> Evidence:
    """Return evidence that asks a candidate and the good version the same questions.

    Args:
        dataset: The questions with their right answers.
        connect: Opens a client that reaches a version.
        limits: How many questions it takes, and how often the answers may differ.
        on_progress: Called with each question that is answered.
    """

    def judged(good: int, candidate: int) -> Judgement:
        with ExitStack() as opened:
            systems = [
                System(f"version {version}", opened.enter_context(connect(version)), version)
                for version in (good, candidate)
            ]
            comparison = compare(*systems, dataset, latency_questions=1, on_progress=on_progress)
        return judge_comparison(comparison, limits)

    return judged


def judge_comparison(comparison: Comparison, limits: Limits) -> Judgement:
    """Judge the second system of a comparison: it must not be worse beyond chance.

    Args:
        comparison: The good version and the candidate on the same questions.
        limits: How many questions it takes, and how often the answers may differ.

    Returns:
        Failed where the candidate's F1 is below by more than chance (paired bootstrap), it is
        exactly right less often by more than chance (McNemar), or it differs more often than is
        allowed; Inconclusive where there are too few questions.
    """
    change, test = comparison.f1_difference, comparison.exact_match_test
    fewer_right = test.only_first > test.only_second and test.p < _LEVEL
    if (change.is_beyond_chance and change.estimate < 0) or fewer_right:
        return Judgement(Verdict.FAILED, comparison.verdict)
    if comparison.questions < limits.requests:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"{comparison.dataset} has {comparison.questions} of at least {limits.requests} "
            "questions.",
        )
    differing = 100 - comparison.agreement
    if differing > limits.disagreement_percent:
        return Judgement(
            Verdict.FAILED,
            f"The versions disagree on {differing:.1f} % of {comparison.questions} questions, and "
            f"{limits.disagreement_percent:g} % are allowed.",
        )
    return Judgement(Verdict.SUCCESSFUL, comparison.verdict)
