"""The quality gate: how much F1 a version may lose against the one that it is made from."""

from __future__ import annotations

from bertqa.artifact import GateResult, Scores
from bertqa.errors import QualityGateError
from bertqa_build.errors import BuildError

_ROUNDING = 1e-9


def judge(scores: Scores, parent: Scores, *, max_f1_drop: float, force: bool) -> GateResult:
    """Compare two versions' scores.

    Args:
        scores: Those of the version that is judged.
        parent: Those of the version that it is made from.
        max_f1_drop: How far F1 may fall, in points.
        force: Whether a version is taken that is refused.

    Returns:
        What the gate found.

    Raises:
        BuildError: The two were not measured on the same questions.
    """
    if (scores.dataset, scores.questions) != (parent.dataset, parent.questions):
        raise BuildError(
            f"The versions were scored on different questions: {scores.questions} of "
            f"{scores.dataset}, and {parent.questions} of {parent.dataset}."
        )
    drop = parent.f1 - scores.f1
    passed = drop <= max_f1_drop + _ROUNDING
    return GateResult(
        passed=passed,
        forced=force and not passed,
        f1_drop=drop,
        max_f1_drop=max_f1_drop,
        parent_f1=parent.f1,
        parent_exact_match=parent.exact_match,
    )


def require_passed(result: GateResult, scores: Scores, kept_in: object) -> None:
    """Refuse a version that lost too much, unless it was forced.

    Args:
        result: What the gate found.
        scores: The scores that it judged.
        kept_in: Where the refused version is kept.

    Raises:
        QualityGateError: The version is refused; the message has both scores.
    """
    if result.passed or result.forced:
        return
    raise QualityGateError(
        f"The quantised version is not published: on {scores.dataset} its F1 is {scores.f1:.2f}, "
        f"{result.f1_drop:.2f} below the {result.parent_f1:.2f} of the version that it is made "
        f"from, and gate.max_f1_drop allows {result.max_f1_drop:g} (exact match "
        f"{scores.exact_match:.2f}, before {result.parent_exact_match:.2f}). "
        f"It is kept in {kept_in}. --force publishes it all the same."
    )
