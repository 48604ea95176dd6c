"""What recorded traffic says: each version's answers, and how often a shadow agreed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from bertqa.errors import DataError
from bertqa.evaluation._statistics import Interval, bootstrap_mean, wilson
from bertqa.qa import normalize


@dataclass(frozen=True, slots=True)
class Given:
    """One recorded answer; `seconds` is None where it was not timed."""

    version: int
    text: str
    score: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """A question, its answer and, where there was one, its shadow's answer or error."""

    question: str
    answer: Given
    shadow: Given | str | None


@dataclass(frozen=True, slots=True)
class VersionReport:
    """What one version gave to users; latencies are in milliseconds, None where none was timed."""

    version: int
    questions: int
    mean_score: float
    no_answer_percent: float
    median_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """How a shadow did against the version that answered.

    `agreement` is a share from 0 to 1; `score_difference` is the shadow's against the other's;
    `differences` begins with the answer that the other version was surest of.
    """

    version: int
    shadow: int
    pairs: int
    agreement: Interval
    score_difference: Interval
    median_ms: tuple[float | None, float | None]
    differences: list[Line]

    @property
    def verdict(self) -> str:
        """The result in plain sentences."""
        share = self.agreement
        return (
            f"Version {self.shadow} agrees with version {self.version} on "
            f"{100 * share.estimate:.1f} % of {self.pairs} questions (95 % interval "
            f"{100 * share.low:.1f} to {100 * share.high:.1f} %)."
        )


@dataclass(frozen=True, slots=True)
class LogReport:
    """What a log holds; `shadow_errors` counts the failures of shadows by their kind."""

    lines: int
    versions: list[VersionReport]
    shadows: list[ShadowReport]
    shadow_errors: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        verdicts = [{"verdict": each.verdict, **asdict(each)} for each in self.shadows]
        return {**asdict(self), "shadows": verdicts}


def report_on_log(path: Path) -> LogReport:
    """Read a log that `bertqa.client.Recorder` wrote. Raises DataError naming the line."""
    by_version: dict[int, list[Given]] = defaultdict(list)
    pairs: dict[tuple[int, int], list[Line]] = defaultdict(list)
    errors: Counter[str] = Counter()
    count = 0
    for line in _lines(path):
        count += 1
        by_version[line.answer.version].append(line.answer)
        if isinstance(line.shadow, Given):
            pairs[line.answer.version, line.shadow.version].append(line)
        elif line.shadow is not None:
            errors[line.shadow] += 1
    if not count:
        raise DataError(f"{path} holds no answer.")
    return LogReport(
        count,
        [_version_report(version, by_version[version]) for version in sorted(by_version)],
        [_shadow_report(*key, pairs[key]) for key in sorted(pairs)],
        dict(errors),
    )


def _version_report(version: int, given: list[Given]) -> VersionReport:
    milliseconds = _milliseconds(given)
    return VersionReport(
        version,
        len(given),
        fmean(each.score for each in given),
        100 * fmean(not each.text for each in given),
        _quantile(milliseconds, 0.5),
        _quantile(milliseconds, 0.95),
    )


def _shadow_report(version: int, shadow: int, lines: list[Line]) -> ShadowReport:
    sides = [(line.answer, line.shadow) for line in lines if isinstance(line.shadow, Given)]
    differing = [
        line
        for line, (one, other) in zip(lines, sides, strict=True)
        if normalize(one.text) != normalize(other.text)
    ]
    return ShadowReport(
        version,
        shadow,
        len(sides),
        wilson(len(sides) - len(differing), len(sides)),
        bootstrap_mean([other.score - one.score for one, other in sides]),
        (
            _quantile(_milliseconds([one for one, _ in sides]), 0.5),
            _quantile(_milliseconds([other for _, other in sides]), 0.5),
        ),
        sorted(differing, key=lambda line: -line.answer.score),
    )


def _lines(path: Path) -> Iterator[Line]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                try:
                    record = json.loads(text)
                    yield Line(
                        str(record["question"]),
                        _given(record["answer"]),
                        _shadow(record.get("shadow")),
                    )
                except (ValueError, TypeError, LookupError, AttributeError) as error:
                    raise DataError(
                        f"{path} is no log of answers: line {number} cannot be read "
                        f"({type(error).__name__}: {error})."
                    ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _given(record: dict[str, Any]) -> Given:
    seconds = record.get("seconds")
    return Given(
        int(record["version"]),
        str(record["text"]),
        float(record["score"]),
        None if seconds is None else float(seconds),
    )


def _shadow(record: dict[str, Any] | None) -> Given | str | None:
    if record is None:
        return None
    return str(record["error"]) if "error" in record else _given(record)


def _milliseconds(given: list[Given]) -> list[float]:
    return [1000 * each.seconds for each in given if each.seconds is not None]


def _quantile(values: list[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None
