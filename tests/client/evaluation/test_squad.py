from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertqa.errors import DataError
from bertqa.evaluation import read_squad
from bertqa.evaluation._squad import GoldAnswer

CONTEXT = "Zoë wrote the 😀 opera in 1921."


def document(*qas: dict[str, Any], context: object = CONTEXT) -> dict[str, Any]:
    return {
        "version": "1.1",
        "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}],
    }


def qa(identifier: str = "q1", *answers: tuple[str, int], **more: object) -> dict[str, Any]:
    golds = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": identifier, "question": "Who wrote it?", "answers": golds, **more}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_reads_several_golds_and_counts_offsets_in_characters(tmp_path: Path) -> None:
    path = write(tmp_path, document(qa("a", ("Zoë", 0), ("opera", 16)), qa("b", ("1921", 25))))
    dataset = read_squad(path)
    assert [question.id for question in dataset] == ["a", "b"]
    first = dataset.questions[0]
    assert first.answers == (GoldAnswer("Zoë", 0), GoldAnswer("opera", 16))
    for question in dataset:
        for gold in question.answers:
            assert question.context[gold.start :][: len(gold.text)] == gold.text
    assert dataset.name == "data.json"
    assert not dataset.has_impossible
    assert dataset.warning is None


def test_reads_unanswerable_questions_marked_or_not(tmp_path: Path) -> None:
    marked = qa("a", is_impossible=True, plausible_answers=[{"text": "x", "answer_start": 99}])
    path = write(tmp_path, document(marked, qa("b"), qa("c", ("Zoë", 0), is_impossible=False)))
    assert [question.is_impossible for question in read_squad(path)] == [True, True, False]


def test_misplaced_answers_up_to_one_percent_are_left_out_and_named(tmp_path: Path) -> None:
    good = [qa(f"g{n}", ("Zoë", 0)) for n in range(198)]
    path = write(tmp_path, document(*good, qa("half", ("Zoë", 1), ("Zoë", 0))))
    dataset = read_squad(path)
    assert len(dataset) == 199
    assert dataset.questions[-1].answers == (GoldAnswer("Zoë", 0),)
    assert dataset.misplaced == ("half",)
    assert dataset.warning is not None
    assert "1 answers" in dataset.warning
    assert "half" in dataset.warning


def test_a_question_with_no_answer_in_place_is_left_out_not_made_impossible(tmp_path: Path) -> None:
    good = [qa(f"g{n}", ("Zoë", 0)) for n in range(99)]
    dataset = read_squad(write(tmp_path, document(*good, qa("bad", ("opera", 3)))))
    assert "bad" not in {question.id for question in dataset}
    assert not dataset.has_impossible


def test_more_than_one_percent_misplaced_is_refused(tmp_path: Path) -> None:
    good = [qa(f"g{n}", ("Zoë", 0)) for n in range(98)]
    path = write(tmp_path, document(*good, qa("bad", ("opera", 3), ("Zoë", 5))))
    with pytest.raises(DataError, match=r"2 of 100 answers.*1%.*bad"):
        read_squad(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON: .* line 1, column 2"),
        ("[]", "at the document, found a list where an object should be"),
        ({}, "at the document, data is missing"),
        ({"data": None}, "data is null and should be a list"),
        (
            {"data": [{"paragraphs": [{"qas": []}]}]},
            r"data\[0\]\.paragraphs\[0\], context is missing",
        ),
        ({"data": []}, "holds no question"),
        (document(qa(), context="  "), "context is empty"),
        (document(qa(), context=7), "context is a number and should be text"),
        (document(qa(question="")), r"qas\[0\], question is empty"),
        (document(qa("a", ("Zoë", 0)), qa("a", ("Zoë", 0))), r"qas\[1\], the id 'a' stands for"),
        (document(qa("a", ("", 0))), r"answers\[0\], text is empty"),
        (document(qa("a", ("Zoë", -1))), "answer_start is -1"),
        (document(qa("a", is_impossible=False)), "is_impossible is False with 0 answers"),
        (document(qa("a", ("Zoë", 0), is_impossible=True)), "is_impossible is True with 1 answers"),
        (document(qa("a", answers=["x"])), "found text where an object should be"),
        ('{"data": [{"paragraphs": [{"context": "\\ud800", "qas": []}]}]}', "half a surrogate"),
    ],
)
def test_what_is_not_squad_is_refused_with_file_and_place(
    tmp_path: Path, content: object, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as raised:
        read_squad(path)
    assert str(path) in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file .*nowhere\.json"):
        read_squad(tmp_path / "nowhere.json")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_squad(tmp_path)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not valid JSON in UTF-8"):
        read_squad(binary)
