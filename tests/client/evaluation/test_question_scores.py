from __future__ import annotations

import base64
import zlib
from dataclasses import replace

import numpy as np
import pytest

from bertqa.artifact import Evidence, Scores, VersionManifest
from bertqa.errors import DataError
from bertqa.evaluation import (
    QuestionScores,
    ScoredSystem,
    compare_scores,
    comparison_page,
    parse_squad,
)
from bertqa.evaluation._metrics import score_each

CONTEXT = "The bridge over the river was designed by Anna Berg."
RECORDS = [
    {"id": "a", "question": "Who?", "answers": {"text": ["Anna Berg"], "answer_start": [42]}},
    {"id": "b", "question": "What?", "answers": {"text": ["river"], "answer_start": [20]}},
    {"id": "é", "question": "Why?", "answers": {"text": [], "answer_start": []}},
]
DATASET = parse_squad([{**each, "context": CONTEXT} for each in RECORDS], "bridge.json")


def of(*texts: str) -> QuestionScores:
    predictions = dict(zip("abé", texts, strict=False))
    return QuestionScores.of(score_each(predictions, DATASET), DATASET)


def scores_of(questions: QuestionScores) -> Scores:
    exact, f1 = 100 * questions.exact_match.mean(), 100 * questions.f1.mean()
    return Scores("bridge.json", len(questions), float(exact), float(f1))


def test_what_is_packed_is_read_again() -> None:
    questions = of("Anna", "bridge", "")
    read = QuestionScores.read(questions.pack(), scores_of(questions))
    assert (read.dataset_sha256, read.ids) == (DATASET.sha256, questions.ids)
    assert read.exact_match.tolist() == [False, False, True]
    assert read.f1.tolist() == [2 / 3, 0.0, 1.0]
    assert of("Anna Berg", "river").f1.tolist() == [1.0, 1.0, 0.0], "one has no prediction"


def test_ten_thousand_questions_take_less_than_a_hundred_kilobytes() -> None:
    rng = np.random.default_rng(0)
    count = 10_000
    f1 = 2 * rng.integers(0, 6, count) / rng.integers(10, 30, count)
    f1[rng.random(count) < 0.6] = 1.0
    ids = tuple(rng.bytes(5) for _ in range(count))
    questions = QuestionScores("0" * 64, ids, f1 == 1.0, f1)
    packed = questions.pack()
    assert len(packed.questions) < 100_000
    assert (QuestionScores.read(packed, scores_of(questions)).f1 == f1).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64!",
        "AAAA",
        base64.b64encode(zlib.compress(b"")).decode(),
        base64.b64encode(zlib.compress(bytes(1000))).decode(),
        base64.b64encode(zlib.compress(bytes(100_000_000))).decode(),
        base64.b64encode(zlib.compress(b"\xff" * 40)).decode(),
        of("Anna", "bridge", "").pack().questions[:-8],
        "é",
    ],
)
def test_damaged_scores_are_one_error(text: str) -> None:
    with pytest.raises(DataError, match=r"3 questions of bridge\.json are damaged"):
        QuestionScores.read(Evidence("", text), Scores("bridge.json", 3, 0, 0))


def test_scores_of_another_number_of_questions_are_damaged() -> None:
    packed = of("Anna", "bridge", "").pack()
    for count in (2, 4):
        with pytest.raises(DataError, match="damaged"):
            QuestionScores.read(packed, Scores("bridge.json", count, 0, 0))


def test_a_digest_is_of_the_questions_and_not_of_the_file() -> None:
    assert parse_squad([{**each, "context": CONTEXT} for each in RECORDS], "x") != DATASET
    assert replace(DATASET, name="x").sha256 == DATASET.sha256
    assert replace(DATASET, questions=DATASET.questions[::-1]).sha256 != DATASET.sha256


def test_two_systems_are_compared_by_their_scores_alone() -> None:
    first, second = (
        ScoredSystem(name, scores_of(each), each)
        for name, each in (("version 1", of("Anna", "river", "")), ("version 2", of("", "", "")))
    )
    comparison = compare_scores(first, second)
    assert comparison.f1_difference.estimate == pytest.approx(-100 * (2 / 3 + 1) / 3)
    assert (comparison.exact_match_test.only_first, comparison.agreement) == (1, None)
    assert [each.f1 for each in comparison.metrics] == [first.scores.f1, second.scores.f1]
    assert "F1 of version 2 is 55.56 points below" in comparison.verdict
    page = comparison_page(comparison)
    assert "none was asked" in page
    assert "latency" not in page

    stranger = replace(second, questions=replace(second.questions, dataset_sha256="other"))
    with pytest.raises(DataError, match="same questions"):
        compare_scores(first, stranger)


def test_a_manifest_keeps_the_scores_in_its_file_and_out_of_its_output() -> None:
    evidence = of("Anna", "bridge", "").pack()
    manifest = VersionManifest("bert-qa", 1, "FP32", "", "", "", {}, evidence=evidence)
    assert evidence.questions in manifest.to_json()
    assert manifest.to_dict()["evidence"] == {"dataset_sha256": DATASET.sha256}
