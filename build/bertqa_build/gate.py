"""The quality gate: how much F1 a version may lose against the one that it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bertqa_build.errors import BuildError, QualityGateError

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate found; F1 and exact match are in percent, on `dataset`."""

    dataset: str
    parent_f1: float
    parent_exact_match: float
    f1: float
    exact_match: float
    max_f1_drop: float
    forced: bool

    @property
    def f1_drop(self) -> float:
        """How far F1 fell, in points; below zero where it rose."""
        return self.parent_f1 - self.f1

    @property
    def passed(self) -> bool:
        """Whether the drop is allowed."""
        return self.f1_drop <= self.max_f1_drop + _ROUNDING

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into `manifest.json`."""
        return {
            "passed": self.passed,
            "forced": self.forced and not self.passed,
            "f1_drop": self.f1_drop,
            "max_f1_drop": self.max_f1_drop,
            "parent_f1": self.parent_f1,
            "parent_exact_match": self.parent_exact_match,
        }


def judge(
    scores: dict[str, Any], parent: dict[str, Any], *, max_f1_drop: float, force: bool
) -> GateResult:
    """Compare two versions' scores, as `Scores.to_dict` gives them.

    Raises BuildError where they were not measured on the same questions.
    """
    if (scores["dataset"], scores["questions"]) != (parent["dataset"], parent["questions"]):
        raise BuildError(
            f"The versions were scored on different questions: {scores['questions']} of "
            f"{scores['dataset']}, and {parent['questions']} of {parent['dataset']}."
        )
    return GateResult(
        dataset=scores["dataset"],
        parent_f1=parent["f1"],
        parent_exact_match=parent["exact_match"],
        f1=scores["f1"],
        exact_match=scores["exact_match"],
        max_f1_drop=max_f1_drop,
        forced=force,
    )


def require_passed(verdict: GateResult, kept_in: object) -> None:
    """Raise QualityGateError, with both scores, unless the verdict is good or was overruled."""
    if verdict.passed or verdict.forced:
        return
    raise QualityGateError(
        f"The quantised version is not published: on {verdict.dataset} its F1 is {verdict.f1:.2f}, "
        f"{verdict.f1_drop:.2f} below the {verdict.parent_f1:.2f} of the version that it is made "
        f"from, and gate.max_f1_drop allows {verdict.max_f1_drop:g} (exact match "
        f"{verdict.exact_match:.2f}, before {verdict.parent_exact_match:.2f}). "
        f"It is kept in {kept_in}. --force publishes it all the same."
    )
