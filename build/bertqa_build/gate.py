"""The quality gate: what a version has to reach, and may lose against the one it is made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from bertqa.artifact import GateResult, Scores, VersionManifest
from bertqa.errors import DataError, QualityGateError
from bertqa.evaluation import Interval, SquadDataset
from bertqa_build.errors import BuildError, RecipeError
from bertqa_build.recipe import Gate
from bertqa_build.result import Scored

_ROUNDING = 1e-9
_PARENT = "the version that it is made from"


@dataclass(frozen=True, slots=True)
class Loss:
    """How far a version is from the one that it is made from; F1 and exact match in percent.

    Attributes:
        parent_f1: F1 of the version that it is made from.
        parent_exact_match: Its exact match.
        drop: How far F1 fell, in points.
        interval: The interval of the drop, None where single questions' scores are not known.
        latency_ratio: The time of a window over the other version's, None where it is not known.
        is_pruned: Whether pruning made the version from the other one; that has its own limit.
    """

    parent_f1: float
    parent_exact_match: float
    drop: float
    interval: Interval | None = None
    latency_ratio: float | None = None
    is_pruned: bool = False

    @classmethod
    def between(
        cls,
        version: Scored,
        parent: Scored,
        latency_ratio: float | None = None,
        *,
        is_pruned: bool = False,
    ) -> Loss:
        """Compare two versions' scores.

        Args:
            version: What the version that is judged scored.
            parent: What the version that it is made from scored.
            latency_ratio: The time of a window in the first over that in the second.
            is_pruned: Whether pruning made the first from the second.

        Returns:
            How far the first is from the second.

        Raises:
            BuildError: The two were not measured on the same questions.
        """
        new, old = version.scores, parent.scores
        one, other, interval = version.questions, parent.questions, None
        if one is None or other is None:
            are_same = (new.dataset, new.questions) == (old.dataset, old.questions)
        else:
            are_same = one.dataset_sha256 == other.dataset_sha256
        if not are_same:
            raise BuildError(
                f"The versions were scored on different questions: {new.questions} of "
                f"{new.dataset}, and {old.questions} of {old.dataset}."
            )
        if one is not None and other is not None:
            interval = one.change_to(other)
        return cls(old.f1, old.exact_match, old.f1 - new.f1, interval, latency_ratio, is_pruned)


def judge(
    scores: Scores, limits: Gate, *, loss: Loss | None = None, force: bool = False
) -> GateResult:
    """Judge a version.

    Args:
        scores: Those of the version.
        limits: What it has to reach.
        loss: How far it is from the version that it is made from, None where there is none.
        force: Whether a version is taken that is refused.

    Returns:
        What the gate found.
    """
    reasons = list(_below_floors(scores, limits))
    if loss is not None:
        reasons += (_pruned_too_far if loss.is_pruned else _too_far)(scores, loss, limits)
    result = GateResult(
        passed=not reasons,
        forced=force and bool(reasons),
        min_f1=limits.min_f1,
        min_exact_match=limits.min_exact_match,
        reasons=tuple(reasons),
    )
    if loss is None:
        return result
    allowed = limits.max_f1_drop
    if loss.is_pruned:
        allowed = max(0.0, (1 - limits.min_pruned_f1_ratio) * loss.parent_f1)
    return replace(
        result,
        f1_drop=loss.drop,
        f1_drop_low=loss.interval.low if loss.interval else None,
        f1_drop_high=loss.interval.high if loss.interval else None,
        max_f1_drop=allowed,
        min_f1_ratio=limits.min_pruned_f1_ratio if loss.is_pruned else limits.min_f1_ratio,
        latency_ratio=loss.latency_ratio,
        max_latency_ratio=None if loss.is_pruned else limits.max_latency_ratio,
        parent_f1=loss.parent_f1,
        parent_exact_match=loss.parent_exact_match,
        notes=tuple(_undecided(scores, loss, allowed)),
    )


def judge_again(
    manifest: VersionManifest, limits: Gate, latency_ratio: float | None = None
) -> GateResult:
    """Judge a published version by what its manifest says, with the limits of now.

    Args:
        manifest: The manifest, which has scores.
        limits: What the version has to reach.
        latency_ratio: The time of a window over that in the version that it is made from.

    Returns:
        What the gate finds.
    """
    scores, before = manifest.scores, manifest.gate
    assert scores is not None
    loss = None
    if before is not None and before.f1_drop is not None:
        loss = Loss(
            before.parent_f1 if before.parent_f1 is not None else scores.f1 + before.f1_drop,
            before.parent_exact_match or 0.0,
            before.f1_drop,
            latency_ratio=latency_ratio,
            is_pruned=manifest.pruning is not None and manifest.precision == "FP32",
        )
    return judge(scores, limits, loss=loss)


def require_passed(result: GateResult, scores: Scores, what: str, ending: str) -> None:
    """Refuse a version that the gate refuses, unless it was forced.

    Args:
        result: What the gate found.
        scores: The scores that it judged.
        what: Which version is refused, and in what way: the beginning of the message.
        ending: What becomes of it: the sentence that the message ends with.

    Raises:
        QualityGateError: The version is refused; the message has every reason.
    """
    if result.passed or result.forced:
        return
    raise QualityGateError(
        f"{what}: on {scores.questions} questions of {scores.dataset}, "
        f"{'; '.join(result.reasons)}. {' '.join((*result.notes, ending))}"
    )


def require_judging(limits: Gate, dataset: SquadDataset) -> None:
    """Refuse questions on which a model that always finds no answer is perfect.

    Args:
        limits: What versions have to reach.
        dataset: The questions to evaluate on.

    Raises:
        DataError: None of them has an answer, and the gate has a floor.
    """
    if any(not each.is_impossible for each in dataset) or not (
        limits.min_f1 or limits.min_exact_match
    ):
        return
    raise DataError(
        f"No question of {dataset.name} has an answer, so the gate cannot distinguish a model that "
        'reads from one that always says "no answer". Evaluate on data with answers too, or set '
        "gate.min_f1 and gate.min_exact_match to 0."
    )


def require_possible(limits: Gate, parent: Scores) -> None:
    """Refuse a gate that no INT8 version can pass, as the FP32 version's scores show.

    Args:
        limits: What versions have to reach.
        parent: The scores of the FP32 version.

    Raises:
        RecipeError: The F1 that it asks for is above 100.
    """
    needed = (limits.min_f1_ratio or 0.0) * parent.f1
    if needed > 100 + _ROUNDING:
        raise RecipeError(
            f"No INT8 version can pass gate.min_f1_ratio: {limits.min_f1_ratio:g} times the F1 of "
            f"the FP32 version, {parent.f1:.2f}, is {needed:.2f}, above 100. Lower it."
        )


def _below_floors(scores: Scores, limits: Gate) -> Iterator[str]:
    floors = {
        ("F1", "gate.min_f1", limits.min_f1): (scores.f1, scores.answerable_f1),
        ("exact match", "gate.min_exact_match", limits.min_exact_match): (
            scores.exact_match,
            scores.answerable_exact_match,
        ),
    }
    for (metric, key, limit), (on_all, on_answerable) in floors.items():
        where = ""
        for value in (on_all, on_answerable):
            if value is not None and value < limit - _ROUNDING:
                yield f"its {metric}{where} is {value:.2f}, and {key} asks for {limit:g}"
            where = " on the questions that have an answer"


def _too_far(scores: Scores, loss: Loss, limits: Gate) -> Iterator[str]:
    if loss.drop > limits.max_f1_drop + _ROUNDING:
        interval = f"95 % interval {_span(loss.interval)}; " if loss.interval else ""
        yield (
            f"its F1 is {scores.f1:.2f}, {loss.drop:.2f} below the {loss.parent_f1:.2f} of "
            f"{_PARENT}, and gate.max_f1_drop allows {limits.max_f1_drop:g} ({interval}exact match "
            f"{scores.exact_match:.2f}, before {loss.parent_exact_match:.2f})"
        )
    if (limits.min_f1_ratio or 0.0) * loss.parent_f1 > scores.f1 + _ROUNDING:
        yield (
            f"its F1 is {scores.f1 / loss.parent_f1:.4f} times the {loss.parent_f1:.2f} of "
            f"{_PARENT}, and gate.min_f1_ratio asks for {limits.min_f1_ratio:g}"
        )
    if limits.max_latency_ratio is None:
        return
    if loss.latency_ratio is None:
        yield f"its time for a window could not be compared with that of {_PARENT}"
    elif loss.latency_ratio > limits.max_latency_ratio:
        yield (
            f"a window takes {loss.latency_ratio:.2f} times as long as in {_PARENT}, and "
            f"gate.max_latency_ratio allows {limits.max_latency_ratio:g}"
        )


def _pruned_too_far(scores: Scores, loss: Loss, limits: Gate) -> Iterator[str]:
    if limits.min_pruned_f1_ratio * loss.parent_f1 > scores.f1 + _ROUNDING:
        yield (
            f"its F1 is {scores.f1:.2f}, {scores.f1 / loss.parent_f1:.4f} times the "
            f"{loss.parent_f1:.2f} of the unpruned version, and gate.min_pruned_f1_ratio asks for "
            f"{limits.min_pruned_f1_ratio:g}"
        )


def _undecided(scores: Scores, loss: Loss, allowed: float) -> Iterator[str]:
    """Yield why the drop is judged by its estimate alone, where that is so."""
    interval = loss.interval
    if interval is None:
        yield (
            f"The drop of F1 has no interval: the scores of each question in {_PARENT} are not "
            "known. It is judged by its estimate."
        )
    elif 100 / scores.questions > allowed:
        yield (
            f"{scores.questions} questions are too few to judge a drop of {allowed:.3g} points: "
            f"one question alone can make {100 / scores.questions:.2f}. It is judged by its "
            "estimate."
        )
    elif interval.high - interval.low > allowed:
        yield (
            f"{scores.questions} questions are too few to judge a drop of {allowed:.3g} points: "
            f"its 95 % interval, {_span(interval)}, is wider. It is judged by its estimate."
        )
    elif interval.low <= allowed < interval.high:
        yield (
            f"Whether the drop is within {allowed:.3g} points is not sure: its 95 % interval is "
            f"{_span(interval)}. It is judged by its estimate."
        )


def _span(interval: Interval) -> str:
    return f"{interval.low:+.2f} to {interval.high:+.2f}"
