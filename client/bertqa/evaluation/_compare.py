"""Two versions on the same questions: which is better, and is that more than chance."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from bertqa import Answer, QAClient
from bertqa.errors import InvalidOptionError
from bertqa.evaluation._evaluate import ask_all, squad_decoder
from bertqa.evaluation._metrics import exact_match, f1
from bertqa.evaluation._squad import SquadDataset, SquadQuestion
from bertqa.evaluation._statistics import Interval, McNemar, bootstrap_mean, mcnemar
from bertqa.qa import normalize

LATENCY_QUESTIONS = 50

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and of how much."""


@dataclass(frozen=True, slots=True)
class System:
    """One of the two: what to call it, how to ask it, and its size on disk in bytes if known."""

    name: str
    client: QAClient
    version: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """One side's figures: scores in percent, single questions in milliseconds, bytes on disk."""

    name: str
    exact_match: float
    f1: float
    median_ms: float
    p95_ms: float
    questions_per_second: float
    size: int | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A question that the two answer differently; F1 is from 0 to 1."""

    id: str
    question: str
    context: str
    golds: list[str]
    answers: tuple[Answer, Answer]
    f1: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it. Differences are those of the second side against the first, in points.

    `agreement` is the percentage of questions that both answer alike, but for case, articles and
    punctuation; `differences` begins with what the second side does worst.
    """

    dataset: str
    questions: int
    sides: tuple[Metrics, Metrics]
    agreement: float
    f1_difference: Interval
    exact_match_test: McNemar
    differences: list[Disagreement]

    @property
    def verdict(self) -> str:
        """The result in plain sentences."""
        first, second = (side.name for side in self.sides)
        change, test = self.f1_difference, self.exact_match_test
        span = f"95 % interval {change.low:+.2f} to {change.high:+.2f}"
        if change.is_beyond_chance:
            word = "better" if change.estimate > 0 else "worse"
            sentence = (
                f"{_capital(second)} is {word} than {first}: its F1 is {abs(change.estimate):.2f} "
                f"points {'higher' if change.estimate > 0 else 'lower'} ({span})."
            )
        else:
            sentence = (
                f"No difference beyond chance: the F1 of {second} is {abs(change.estimate):.2f} "
                f"points {'below' if change.estimate < 0 else 'above'} that of {first} ({span}, "
                "which holds zero)."
            )
        if not test.only_first + test.only_second:
            return f"{sentence} Both have the same questions exactly right."
        counted = "1 question" if test.only_first == 1 else f"{test.only_first} questions"
        return (
            f"{sentence} {_capital(first)} alone is exactly right on {counted}, {second} alone on "
            f"{test.only_second}; chance makes that as uneven in {_percent(test.p)} of cases "
            "(McNemar's exact test)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"verdict": self.verdict, **asdict(self)}


def compare(
    first: System,
    second: System,
    dataset: SquadDataset,
    *,
    latency_questions: int = LATENCY_QUESTIONS,
    on_progress: Progress = lambda *_: None,
) -> Comparison:
    """Ask both sides every question, and some of them once more one at a time for the latency.

    Raises InvalidOptionError where both are the same, and what the clients raise.
    """
    if first.client is second.client and first.version == second.version:
        raise InvalidOptionError(f"{_capital(first.name)} cannot be compared with itself.")
    answers, rates = [], []
    for side in (first, second):

        def report(done: int, total: int, side: System = side) -> None:
            on_progress(f"Asking {side.name}", done, total)

        side.client.answer(
            dataset.questions[0].question, dataset.questions[0].context, version=side.version
        )
        begun = time.perf_counter()
        answers.append(ask_all(side.client, dataset, version=side.version, on_progress=report))
        rates.append(len(dataset) / (time.perf_counter() - begun))
    latencies = _latencies((first, second), dataset, latency_questions, on_progress)
    f1s, exact = [], []
    for given in answers:
        f1s.append([f1(a.text, _golds(q)) for q, a in zip(dataset, given, strict=True)])
        exact.append([exact_match(a.text, _golds(q)) for q, a in zip(dataset, given, strict=True)])
    pairs = list(zip(dataset, *answers, *f1s, strict=True))
    differences = [
        Disagreement(q.id, q.question, q.context, _golds(q), (one, other), (f1_one, f1_other))
        for q, one, other, f1_one, f1_other in pairs
        if normalize(one.text) != normalize(other.text)
    ]
    differences.sort(key=lambda each: each.f1[1] - each.f1[0])
    measured = [
        Metrics(
            side.name,
            exact_match=100 * fmean(exact[number]),
            f1=100 * fmean(f1s[number]),
            median_ms=float(np.median(latencies[number])),
            p95_ms=float(np.quantile(latencies[number], 0.95)),
            questions_per_second=rates[number],
            size=side.size,
        )
        for number, side in enumerate((first, second))
    ]
    return Comparison(
        dataset=dataset.name,
        questions=len(dataset),
        sides=(measured[0], measured[1]),
        agreement=100 * (1 - len(differences) / len(dataset)),
        f1_difference=bootstrap_mean(100 * (np.array(f1s[1]) - np.array(f1s[0]))),
        exact_match_test=mcnemar(exact[0], exact[1]),
        differences=differences,
    )


def _latencies(
    sides: tuple[System, System], dataset: SquadDataset, count: int, on_progress: Progress
) -> tuple[list[float], list[float]]:
    """Time single questions in milliseconds, the sides in turn: what slows one slows both."""
    chosen = dataset.questions[:: max(1, len(dataset) // count)][:count]
    found: tuple[list[float], list[float]] = ([], [])
    decoder = squad_decoder(dataset)
    for done, question in enumerate(chosen, 1):
        order: Sequence[int] = (0, 1) if done % 2 else (1, 0)
        for number in order:
            side = sides[number]
            begun = time.perf_counter()
            side.client.answer(
                question.question, question.context, decoder=decoder, version=side.version
            )
            found[number].append(1000 * (time.perf_counter() - begun))
        on_progress("Timing single questions", done, len(chosen))
    return found


def _golds(question: SquadQuestion) -> list[str]:
    return [gold.text for gold in question.answers]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
