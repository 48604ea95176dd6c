from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from bertqa.artifact import Scores
from bertqa.evaluation import GoldAnswer, SquadDataset, SquadQuestion
from bertqa.evaluation._metrics import exact_match, f1, score
from bertqa.qa import normalize


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat!", "cat"),
        ("an A-Team, the", "ateam"),
        ("theatre", "theatre"),
        ("U.S.", "us"),
        ("a", ""),
        ("Zoë’s", "zoë’s"),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("prediction", "golds", "em", "f"),
    [
        ("the Denver Broncos.", ["Denver Broncos"], 1, 1),
        ("Broncos", ["Denver Broncos"], 0, 2 / 3),
        ("in Santa Clara, California", ["Levi's Stadium", "Santa Clara California"], 0, 6 / 7),
        ("1 1 2", ["1 2 2"], 0, 2 / 3),
        ("gold", ["silver"], 0, 0),
        ("", [], 1, 1),
        ("anything", [], 0, 0),
        ("", ["gold"], 0, 0),
        ("the", ["gold", "!"], 0, 0),
        ("the", ["!"], 1, 1),
    ],
)
def test_hand_worked_cases(prediction: str, golds: list[str], em: float, f: float) -> None:
    assert exact_match(prediction, golds) == em
    assert f1(prediction, golds) == pytest.approx(f)


class Example(NamedTuple):
    qas_id: str
    answers: list[dict[str, str]]


def dataset(*golds: list[str]) -> SquadDataset:
    return SquadDataset(
        "data.json",
        tuple(
            SquadQuestion(str(n), "?", "...", tuple(GoldAnswer(text, 0) for text in texts))
            for n, texts in enumerate(golds)
        ),
    )


def test_missing_predictions_count_as_zero_also_where_there_is_no_answer() -> None:
    predictions = {"0": "Paris", "3": ""}
    scores = score(predictions, dataset(["paris"], ["Rome"], [], []))
    assert scores == Scores(
        dataset="data.json",
        questions=4,
        exact_match=50,
        f1=50,
        missing=2,
        answerable_exact_match=50,
        answerable_f1=50,
        unanswerable=50,
    )


def test_a_dataset_of_one_kind_has_no_parts() -> None:
    scores = score({"0": "the old Paris"}, dataset(["Paris"]))
    assert scores.exact_match == 0
    assert scores.f1 == pytest.approx(200 / 3)
    assert scores.to_dict().keys() == {"dataset", "questions", "exact_match", "f1", "missing"}


@pytest.mark.thorough
def test_agrees_with_the_implementation_in_transformers() -> None:
    from transformers.data.metrics import squad_metrics

    rng = random.Random(0)
    words = ["the", "a", "An", "cat", "Cat,", "dog", "U.S.", "2", "%", "zoë", "—"]

    def text() -> str:
        return " ".join(rng.choices(words, k=rng.randint(1, 5)))

    for _ in range(500):
        golds = [text() for _ in range(rng.randint(0, 3))]
        prediction = rng.choice([text(), ""])
        ours = score({"0": prediction}, dataset(golds))
        theirs = squad_metrics.squad_evaluate(  # type: ignore[no-untyped-call]
            [Example("0", [{"text": gold} for gold in golds])], {"0": prediction}
        )
        assert ours.exact_match == theirs["exact"]
        assert ours.f1 == pytest.approx(theirs["f1"])
