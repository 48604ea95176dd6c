"""Two versions on the same questions: which is better, and is that more than chance."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np

from bertqa._checks import optional, version, whole
from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import Scores
from bertqa.client import QAClient, check_client
from bertqa.errors import InvalidOptionError
from bertqa.evaluation._evaluate import ask_all, squad_decoder
from bertqa.evaluation._metrics import exact_match, f1
from bertqa.evaluation._pages import capital
from bertqa.evaluation._question_scores import QuestionScores
from bertqa.evaluation._squad import SquadDataset
from bertqa.evaluation._statistics import Interval, McNemar, bootstrap_mean, mcnemar
from bertqa.evaluation._timing import Samples, take_turns, time_call
from bertqa.qa import Answer, normalize

LATENCY_QUESTIONS = 50


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class System:
    """One of the two that are compared.

    Attributes:
        name: What to call it.
        client: How to ask it.
        version: The version to ask, None for the client's default.
        size: Its bytes on disk, None where they are not known.
        about: What it is and where it is from, as in "INT8, from model_repository/bert-qa/2".

    Raises:
        InvalidOptionError: `client` is not a `QAClient`, or the version is not valid.
    """

    name: str
    client: QAClient
    version: int | None = None
    size: int | None = None
    about: str = ""

    def __post_init__(self) -> None:
        check_client("client", self.client)
        object.__setattr__(self, "version", optional(version)("version", self.version))


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was measured of one system.

    Scores are in percent, latencies of single questions in milliseconds, the size in bytes; what
    was not measured is None.
    """

    name: str
    exact_match: float
    f1: float
    median_ms: float | None
    p95_ms: float | None
    questions_per_second: float | None
    size: int | None
    about: str = ""


@dataclass(frozen=True, slots=True)
class ScoredSystem:
    """One of the two that are compared by the scores that they have.

    Attributes:
        name: What to call it.
        scores: Its scores.
        questions: Its scores of each question.
        size: Its bytes on disk, None where they are not known.
        about: What it is and where it is from.
    """

    name: str
    scores: Scores
    questions: QuestionScores
    size: int | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A question that the two systems answer differently; F1 is in percent."""

    id: str
    question: str
    context: str
    golds: list[str]
    answers: tuple[Answer, Answer]
    f1: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two systems on the same questions.

    Attributes:
        dataset: The name of the data set.
        questions: The number of its questions.
        metrics: What was measured of the first system and of the second.
        agreement: The percentage of questions that both answer alike, but for case, articles and
            punctuation; None where only their scores were compared.
        f1_difference: The F1 of the second system less that of the first, in points.
        exact_match_test: Whether one of them is exactly right more often.
        disagreements: The questions that they answer differently; it begins with what the second
            system does worst. It is empty where only scores were compared.
        made: When they were compared, in ISO 8601.
    """

    dataset: str
    questions: int
    metrics: tuple[Metrics, Metrics]
    agreement: float | None
    f1_difference: Interval
    exact_match_test: McNemar
    disagreements: list[Disagreement]
    made: str = field(default_factory=_now)

    @property
    def verdict(self) -> str:
        """The result in plain sentences."""
        first, second = (each.name for each in self.metrics)
        change, test = self.f1_difference, self.exact_match_test
        span = f"95 % interval {change.low:+.2f} to {change.high:+.2f}"
        if change.is_beyond_chance:
            word = "better" if change.estimate > 0 else "worse"
            sentence = (
                f"{capital(second)} is {word} than {first}: its F1 is {abs(change.estimate):.2f} "
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
            f"{sentence} {capital(first)} alone is exactly right on {counted}, {second} alone on "
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
    on_progress: OnProgress = ignore,
) -> Comparison:
    """Ask two systems every question, and some once more one at a time for the latency.

    Args:
        first: The system to compare with.
        second: The system that is compared with it.
        dataset: The questions with their right answers.
        latency_questions: How many questions are timed one at a time, at most.
        on_progress: Called with each question that is answered.

    Returns:
        The scores, latencies and differing answers of both.

    Raises:
        InvalidOptionError: Both systems are the same, or an option is not valid.
        BertQAError: What the clients raise.
        ModuleNotFoundError: scipy is not installed.
    """
    latency_questions = whole(1)("latency_questions", latency_questions)
    importlib.import_module("scipy")  # Needed last, but missed before any question is asked.
    if first.client is second.client and first.version == second.version:
        raise InvalidOptionError(f"{capital(first.name)} cannot be compared with itself.")
    runs = [_ask(system, dataset, on_progress) for system in (first, second)]
    latencies = _latencies((first, second), dataset, latency_questions, on_progress)
    golds = [[gold.text for gold in question.answers] for question in dataset]
    f1s, exact = (
        [
            [metric(answer.text, gold) for answer, gold in zip(answers, golds, strict=True)]
            for answers, _ in runs
        ]
        for metric in (f1, exact_match)
    )
    (one, _), (other, _) = runs
    disagreements = [
        Disagreement(question.id, question.question, question.context, gold, answers, scores)
        for question, gold, answers, scores in zip(
            dataset,
            golds,
            zip(one, other, strict=True),
            zip(*([100 * each for each in scores] for scores in f1s), strict=True),
            strict=True,
        )
        if normalize(answers[0].text) != normalize(answers[1].text)
    ]
    disagreements.sort(key=lambda each: each.f1[1] - each.f1[0])
    measured = [
        Metrics(
            system.name,
            exact_match=100 * fmean(exact[number]),
            f1=100 * fmean(f1s[number]),
            median_ms=1000 * latencies[number].median,
            p95_ms=1000 * latencies[number].quantile(0.95),
            questions_per_second=len(dataset) / runs[number][1],
            size=system.size,
            about=system.about,
        )
        for number, system in enumerate((first, second))
    ]
    return Comparison(
        dataset=dataset.name,
        questions=len(dataset),
        metrics=(measured[0], measured[1]),
        agreement=100 * (1 - len(disagreements) / len(dataset)),
        f1_difference=bootstrap_mean(100 * (np.array(f1s[1]) - np.array(f1s[0]))),
        exact_match_test=mcnemar(exact[0], exact[1]),
        disagreements=disagreements,
    )


def compare_scores(first: ScoredSystem, second: ScoredSystem) -> Comparison:
    """Compare two systems by the scores that they have of the same questions; none is asked.

    Args:
        first: The system to compare with.
        second: The system that is compared with it.

    Returns:
        Their scores, and whether the difference is more than chance, without latencies.

    Raises:
        DataError: They are scores of different questions.
        ModuleNotFoundError: scipy is not installed.
    """
    metrics = [
        Metrics(
            each.name,
            each.scores.exact_match,
            each.scores.f1,
            median_ms=None,
            p95_ms=None,
            questions_per_second=None,
            size=each.size,
            about=each.about,
        )
        for each in (first, second)
    ]
    return Comparison(
        dataset=second.scores.dataset,
        questions=second.scores.questions,
        metrics=(metrics[0], metrics[1]),
        agreement=None,
        f1_difference=first.questions.change_to(second.questions),
        exact_match_test=mcnemar(first.questions.exact_match, second.questions.exact_match),
        disagreements=[],
    )


def _ask(
    system: System, dataset: SquadDataset, on_progress: OnProgress
) -> tuple[list[Answer], float]:
    """Return a system's answers, and the seconds that they took together."""
    answers: list[Answer] = []
    question = dataset.questions[0]
    system.client.answer(question.question, question.context, version=system.version)

    def ask() -> None:
        answers.extend(
            ask_all(
                system.client,
                dataset,
                version=system.version,
                stage=f"Asking {system.name}",
                on_progress=on_progress,
            )
        )

    seconds = time_call(ask)
    return answers, seconds


def _latencies(
    systems: tuple[System, System], dataset: SquadDataset, count: int, on_progress: OnProgress
) -> list[Samples]:
    """Return the seconds of single questions, by system."""
    chosen = dataset.questions[:: max(1, len(dataset) // count)][:count]
    decoder = squad_decoder(dataset)

    def timer(system: System) -> Callable[[], float]:
        questions = iter(chosen)

        def ask() -> None:
            question = next(questions)
            system.client.answer(
                question.question, question.context, decoder=decoder, version=system.version
            )

        return lambda: time_call(ask)

    # A client that both share keeps contexts, so the one that is asked later is faster.
    seconds = take_turns(
        {number: timer(system) for number, system in enumerate(systems)},
        len(chosen),
        alternate=True,
        on_turn=lambda done: on_progress(
            Progress("Timing single questions", done, len(chosen), "questions")
        ),
    )
    return [Samples(tuple(seconds[number])) for number in range(len(systems))]


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
