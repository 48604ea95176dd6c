"""Exact match and F1 as the official SQuAD scripts define them.

The rules are those of the SQuAD 2.0 script (Rajpurkar et al. 2018, `evaluate-v2.0.py`), which on
answerable questions are those of SQuAD 1.1, but for a gold answer made of articles and punctuation
alone. One rule is the SQuAD 1.1 script's for both: a question without a prediction counts as zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from bertqa.artifact import Scores
from bertqa.evaluation._squad import SquadDataset
from bertqa.qa import normalize


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1.0 where the normalised prediction is one of the golds, else 0.0; no golds: no answer.

    Args:
        prediction: The text of the answer; empty for no answer.
        golds: The right answers.

    Returns:
        1.0 or 0.0.
    """
    return float(normalize(prediction) in _normalized_golds(golds))


def f1(prediction: str, golds: Sequence[str]) -> float:
    """The best F1, from 0 to 1, over words shared with any gold; no golds: no answer.

    Args:
        prediction: The text of the answer; empty for no answer.
        golds: The right answers.

    Returns:
        From 0.0 to 1.0.
    """
    words = normalize(prediction).split()
    return max(_words_f1(words, gold.split()) for gold in _normalized_golds(golds))


def score(predictions: Mapping[str, str], dataset: SquadDataset) -> Scores:
    """Score answers, by question id; the empty text says that there is no answer.

    Args:
        predictions: The text of each answer by the id of its question.
        dataset: The questions with their right answers.

    Returns:
        Exact match and F1 in percent; a question without a prediction counts as zero.
    """
    return summary(score_each(predictions, dataset), predictions, dataset)


def summary(
    each: Sequence[tuple[float, float]], predictions: Mapping[str, str], dataset: SquadDataset
) -> Scores:
    """Sum up the scores of each question; see `score`.

    Args:
        each: What `score_each` returned.
        predictions: The text of each answer by the id of its question.
        dataset: The questions with their right answers.

    Returns:
        Exact match and F1 in percent.
    """
    pairs: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for question, result in zip(dataset, each, strict=True):
        pairs[question.is_impossible].append(result)
    unanswerable, answerable = pairs[True], pairs[False]
    both = answerable + unanswerable
    split = bool(answerable and unanswerable)
    return Scores(
        dataset=dataset.name,
        questions=len(dataset),
        exact_match=_percent(em for em, _ in both),
        f1=_percent(best for _, best in both),
        missing=sum(question.id not in predictions for question in dataset),
        answerable_exact_match=_percent(em for em, _ in answerable) if split else None,
        answerable_f1=_percent(best for _, best in answerable) if split else None,
        unanswerable=_percent(em for em, _ in unanswerable) if split else None,
    )


def score_each(predictions: Mapping[str, str], dataset: SquadDataset) -> list[tuple[float, float]]:
    """Score each answer, by question id; the empty text says that there is no answer.

    Args:
        predictions: The text of each answer by the id of its question.
        dataset: The questions with their right answers.

    Returns:
        Exact match and F1 of each question, from 0 to 1, in the data set's order; zeros where
        there is no prediction.
    """
    found = []
    for question in dataset:
        golds = [gold.text for gold in question.answers]
        text = predictions.get(question.id)
        both = (0.0, 0.0) if text is None else (exact_match(text, golds), f1(text, golds))
        found.append(both)
    return found


def _percent(values: Iterable[float]) -> float:
    return 100.0 * fmean(values)


def _normalized_golds(golds: Sequence[str]) -> list[str]:
    return [text for text in map(normalize, golds) if text] or [""]


def _words_f1(prediction: list[str], gold: list[str]) -> float:
    if not prediction or not gold:
        return float(prediction == gold)
    shared = (Counter(prediction) & Counter(gold)).total()
    return 2 * shared / (len(prediction) + len(gold))
