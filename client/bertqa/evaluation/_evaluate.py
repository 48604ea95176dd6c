"""Scoring a model version: the client asks it every question of a data set."""

from __future__ import annotations

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import Scores
from bertqa.client import QAClient, check_client
from bertqa.evaluation._metrics import score, score_each, summary
from bertqa.evaluation._question_scores import QuestionScores
from bertqa.evaluation._squad import SquadDataset
from bertqa.qa import Answer, SquadDecoder


def evaluate(
    qa: QAClient,
    dataset: SquadDataset,
    *,
    version: int | None = None,
    on_progress: OnProgress = ignore,
) -> Scores:
    """Ask every question of a data set and score the answers.

    Args:
        qa: A client of the model.
        dataset: The questions with their right answers.
        version: The version to ask; None asks the client's default.
        on_progress: Called with each question that is answered.

    Returns:
        Exact match and F1 in percent.

    Raises:
        InvalidOptionError: `qa` is not a `QAClient`.
        BertQAError: What `QAClient.answer_many` raises.
    """
    return score(predict(qa, dataset, version=version, on_progress=on_progress), dataset)


def evaluate_each(
    qa: QAClient,
    dataset: SquadDataset,
    *,
    version: int | None = None,
    on_progress: OnProgress = ignore,
) -> tuple[Scores, QuestionScores]:
    """Ask every question of a data set, and score the answers together and each.

    Args:
        qa: A client of the model.
        dataset: The questions with their right answers.
        version: The version to ask; None asks the client's default.
        on_progress: Called with each question that is answered.

    Returns:
        Exact match and F1 in percent, and those of each question.

    Raises:
        InvalidOptionError: `qa` is not a `QAClient`.
        BertQAError: What `QAClient.answer_many` raises.
    """
    predictions = predict(qa, dataset, version=version, on_progress=on_progress)
    each = score_each(predictions, dataset)
    return summary(each, predictions, dataset), QuestionScores.of(each, dataset)


def predict(
    qa: QAClient,
    dataset: SquadDataset,
    *,
    version: int | None = None,
    on_progress: OnProgress = ignore,
) -> dict[str, str]:
    """Return the text of each question's answer by its id; empty where the model finds none.

    Args:
        qa: A client of the model.
        dataset: The questions.
        version: The version to ask; None asks the client's default.
        on_progress: Called with each question that is answered.

    Returns:
        The texts by question id.

    Raises:
        InvalidOptionError: `qa` is not a `QAClient`.
        BertQAError: What `QAClient.answer_many` raises.
    """
    answers = ask_all(qa, dataset, version=version, on_progress=on_progress)
    return {question.id: answer.text for question, answer in zip(dataset, answers, strict=True)}


def ask_all(
    qa: QAClient,
    dataset: SquadDataset,
    *,
    version: int | None = None,
    stage: str = "Asking questions",
    on_progress: OnProgress = ignore,
) -> list[Answer]:
    """Return each question's answer, in the data set's order.

    Decodes as the standard SQuAD post-processing does. "No answer" can win only where the data set
    has such questions, and then where it scores above the best span. Events of progress have the
    name `stage`.

    Args:
        qa: A client of the model.
        dataset: The questions.
        version: The version to ask; None asks the client's default.
        stage: The name that progress is reported under.
        on_progress: Called with each question that is answered.

    Returns:
        One answer for each question.

    Raises:
        InvalidOptionError: `qa` is not a `QAClient`.
        BertQAError: What `QAClient.answer_many` raises.
    """
    check_client("qa", qa)
    answers: list[Answer] = []
    pairs = ((question.question, question.context) for question in dataset)
    for answer in qa.answer_many(pairs, decoder=squad_decoder(dataset), version=version):
        answers.append(answer)
        on_progress(Progress(stage, len(answers), len(dataset), "questions"))
    return answers


def squad_decoder(dataset: SquadDataset) -> SquadDecoder:
    """Return the decoder that a data set is evaluated with.

    Args:
        dataset: The data set.

    Returns:
        The decoder; it can choose "no answer" where the data set has such questions.
    """
    return SquadDecoder(null_score_threshold=0.0 if dataset.has_impossible else None)
