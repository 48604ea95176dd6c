"""Recorded traffic: each version's answers, and how often a shadow agreed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from bertqa._reason import open_finite, reason_of
from bertqa.errors import DataError
from bertqa.evaluation._statistics import Interval, bootstrap_mean, wilson
from bertqa.evaluation._timing import Samples
from bertqa.qa import normalize

_READING = ConfigDict(extra="ignore", allow_inf_nan=False)
_FOLLOW_SECONDS = 0.2
_START, _END = b'{"at": ', b"\n"


@validated(frozen=True, slots=True, config=_READING)
class RecordedAnswer:
    """One recorded answer; `seconds` is None where it was not timed."""

    version: int
    text: str
    score: float
    seconds: float | None = None


@validated(frozen=True, slots=True, config=_READING)
class RecordedError:
    """What went wrong instead of an answer: the name of the error's class."""

    error: str


@validated(frozen=True, slots=True, config=_READING)
class RecordedQuestion:
    """A question, its answer and, where there was one, its shadow's answer or error.

    Question and context are texts, and not hashes of them, where it `can_be_asked`. `at` is when it
    was answered.
    """

    question: str
    answer: RecordedAnswer
    shadow: RecordedAnswer | RecordedError | None = None
    context: str = ""
    can_be_asked: bool = False
    at: datetime | None = None

    @property
    def arrived(self) -> datetime | None:
        """When it was asked, as far as that is recorded."""
        if self.at is None:
            return None
        return self.at - timedelta(seconds=self.answer.seconds or 0.0)


_LINE = TypeAdapter(RecordedQuestion)


@dataclass(frozen=True, slots=True)
class VersionReport:
    """One version's answers; latencies are in milliseconds, None where none was timed."""

    version: int
    questions: int
    mean_score: float
    no_answer_percent: float
    median_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """A shadow's answers against those of the version that answered.

    Attributes:
        version: The version that answered.
        shadow: The version that got copies of its questions.
        pairs: The number of questions that both answered.
        agreement: The percentage of the pairs that agree.
        score_difference: The shadow's score less the other's.
        median_ms: The median latency of the version and of the shadow, in milliseconds.
        disagreements: The questions that they answered differently; it begins with the answer
            that the version had the highest score for.
    """

    version: int
    shadow: int
    pairs: int
    agreement: Interval
    score_difference: Interval
    median_ms: tuple[float | None, float | None]
    disagreements: list[RecordedQuestion]

    @property
    def verdict(self) -> str:
        """The result in plain sentences."""
        share = self.agreement
        return (
            f"Version {self.shadow} agrees with version {self.version} on "
            f"{share.estimate:.1f} % of {self.pairs} questions (95 % interval "
            f"{share.low:.1f} to {share.high:.1f} %)."
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
        shadows = [
            {
                "verdict": each.verdict,
                **asdict(each),
                "disagreements": [_plain(line) for line in each.disagreements],
            }
            for each in self.shadows
        ]
        return {**asdict(self), "shadows": shadows}


def _plain(line: RecordedQuestion) -> dict[str, Any]:
    """Return a question for JSON, where the version of an answer is named as in each `Answer`."""
    plain = asdict(line)
    del plain["at"]
    for given in (plain["answer"], plain["shadow"]):
        if given is not None and "version" in given:
            given["model_version"] = given.pop("version")
    return plain


def report_on_log(path: Path) -> LogReport:
    """Read a log that `bertqa.client.Recorder` wrote.

    Args:
        path: The file, JSON Lines.

    Returns:
        A report on each version and on each shadow.

    Raises:
        DataError: The file cannot be read, or has a line that is not an answer.
    """
    by_version: dict[int, list[RecordedAnswer]] = defaultdict(list)
    pairs: dict[tuple[int, int], list[RecordedQuestion]] = defaultdict(list)
    errors: Counter[str] = Counter()
    count = 0
    for line in read_log(path):
        count += 1
        by_version[line.answer.version].append(line.answer)
        if isinstance(line.shadow, RecordedAnswer):
            pairs[line.answer.version, line.shadow.version].append(line)
        elif line.shadow is not None:
            errors[line.shadow.error] += 1
    if not count:
        raise DataError(
            f"{path} does not hold an answer. Pass a file that `bertqa.Recorder` wrote."
        )
    return LogReport(
        count,
        [_version_report(version, by_version[version]) for version in sorted(by_version)],
        [_shadow_report(*key, pairs[key]) for key in sorted(pairs)],
        dict(errors),
    )


def _version_report(version: int, given: list[RecordedAnswer]) -> VersionReport:
    milliseconds = _milliseconds(given)
    return VersionReport(
        version,
        len(given),
        fmean(each.score for each in given),
        100 * fmean(not each.text for each in given),
        _quantile(milliseconds, 0.5),
        _quantile(milliseconds, 0.95),
    )


def _shadow_report(version: int, shadow: int, lines: list[RecordedQuestion]) -> ShadowReport:
    pairs = [
        (line.answer, line.shadow) for line in lines if isinstance(line.shadow, RecordedAnswer)
    ]
    differing = [
        line
        for line, (one, other) in zip(lines, pairs, strict=True)
        if normalize(one.text) != normalize(other.text)
    ]
    share = wilson(len(pairs) - len(differing), len(pairs))
    return ShadowReport(
        version,
        shadow,
        len(pairs),
        Interval(100 * share.estimate, 100 * share.low, 100 * share.high),
        bootstrap_mean([other.score - one.score for one, other in pairs]),
        (
            _quantile(_milliseconds([one for one, _ in pairs]), 0.5),
            _quantile(_milliseconds([other for _, other in pairs]), 0.5),
        ),
        sorted(differing, key=lambda line: -line.answer.score),
    )


def follow_log(
    path: Path,
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[RecordedQuestion]:
    """Return what is recorded from now on, as it is.

    A line that a client is at is waited for, and one that a killed client left half is skipped.

    Args:
        path: The file of a `Recorder`.
        seconds: For how long.
        sleep: Waits for some seconds.
        now: Returns a time in seconds that never goes back.

    Raises:
        DataError: The file cannot be read, or is not such a file.
    """
    end = now() + seconds
    try:
        with open_finite(path) as file:
            number, begun = 0, b""
            for line in file:
                number += 1
                begun = b"" if line.endswith(_END) else line
            is_half = bool(begun)
            number -= is_half
            while now() < end:
                begun += file.readline()
                if not begun.endswith(_END):
                    sleep(_FOLLOW_SECONDS)
                    continue
                number += 1
                found = _parsed(begun, path, number, may_be_half=is_half)
                begun, is_half = b"", False
                if found is not None:
                    yield found
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error


def read_log(path: Path) -> Iterator[RecordedQuestion]:
    """Read what a `Recorder` wrote.

    Args:
        path: The file, JSON Lines.

    Yields:
        Each question with its answer, in the order in which they were answered.

    Raises:
        DataError: The file cannot be read, or has a line that is not an answer.
    """
    try:
        with open_finite(path) as file:
            for number, line in enumerate(file, 1):
                # A client may be at the last line, or may have been killed there.
                is_last = number > 1 and not line.endswith(_END)
                found = _parsed(line, path, number, may_be_half=is_last)
                if found is not None:
                    yield found
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error


def _parsed(line: bytes, path: Path, number: int, *, may_be_half: bool) -> RecordedQuestion | None:
    if not line.strip():
        return None
    try:
        return _LINE.validate_json(line)
    except ValidationError as error:
        # What a killed client left half is in front of the next client's line.
        start = line.rfind(_START)
        after = _line_or_none(line[start:]) if start > 0 else None
        if after is not None or may_be_half:
            return after
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path} is not a log of answers: line {number} cannot be read "
            f"({f'{where}: ' if where else ''}{first['msg']})."
        ) from error


def _line_or_none(line: bytes) -> RecordedQuestion | None:
    try:
        return _LINE.validate_json(line)
    except ValidationError:
        return None


def _milliseconds(given: list[RecordedAnswer]) -> list[float]:
    return [1000 * each.seconds for each in given if each.seconds is not None]


def _quantile(values: list[float], share: float) -> float | None:
    return Samples(tuple(values)).quantile(share) if values else None
