"""Scoring a model version: the client asks it every question of a data set."""

from __future__ import annotations

from collections.abc import Callable

from bertqa.artifact import Scores
from bertqa.client import QAClient
from bertqa.evaluation._metrics import score
from bertqa.evaluation._squad import SquadDataset
from bertqa.qa import Answer, SquadDecoder

Progress = Callable[[int, int], None]
"""Called with the number of questions done and the number of all."""


def evaluate(
    qa: QAClient,
    dataset: SquadDataset,
    *,
    version: int | None = None,
    on_progress: Progress | None = None,
) -> Scores:
    """Ask every question and score the answers.

    Raises what `QAClient.answer_many` raises.
    """
    return score(predict(qa, dataset, version=version, on_progress=on_progress), dataset)


def predict(
    qa: QAClient,
    dataset: SquadDataset,
    *,
    version: int | None = None,
    on_progress: Progress | None = None,
) -> dict[str, str]:
    """Return the text of each question's answer by its id; empty where the model finds none."""
    answers = ask_all(qa, dataset, version=version, on_progress=on_progress)
    return {question.id: answer.text for question, answer in zip(dataset, answers, strict=True)}


def ask_all(
    qa: QAClient,
    dataset: SquadDataset,
    *,
    version: int | None = None,
    on_progress: Progress | None = None,
) -> list[Answer]:
    """Return each question's answer, in the data set's order.

    Decodes as the standard SQuAD post-processing does. "No answer" can win only where the data set
    has such questions, and then where it scores above the best span.
    """
    answers: list[Answer] = []
    pairs = ((question.question, question.context) for question in dataset)
    for answer in qa.answer_many(pairs, decoder=squad_decoder(dataset), version=version):
        answers.append(answer)
        if on_progress is not None:
            on_progress(len(answers), len(dataset))
    return answers


def squad_decoder(dataset: SquadDataset) -> SquadDecoder:
    """Return the decoder that a data set is evaluated with."""
    return SquadDecoder(null_score_threshold=0.0 if dataset.has_impossible else None)
