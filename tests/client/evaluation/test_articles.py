"""SQuAD's documents and articles, one a line or a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertqa import QAClient
from bertqa.client import answer_file
from bertqa.errors import DataError
from bertqa.evaluation import read_squad
from tests.support.in_process import InProcessTransport

CONTEXT = "Zoë wrote the opera in 1921."


def article(**qa: object) -> dict[str, Any]:
    answers = [{"text": "Zoë", "answer_start": 0}]
    asked = {"question": "Who wrote it?", "answers": answers, **qa}
    return {"title": "t", "paragraphs": [{"context": CONTEXT, "qas": [asked]}]}


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(tmp_path: Path, *rows: dict[str, Any]) -> str:
    from datasets import Dataset

    Dataset.from_list([*rows]).save_to_disk(tmp_path / "saved")
    return str(tmp_path / "saved")


def test_articles_may_stand_in_lines(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", article(id="a"), article(id="b"))
    dataset = read_squad(path)
    assert [(each.id, each.context) for each in dataset] == [("a", CONTEXT), ("b", CONTEXT)]
    with QAClient(transport=InProcessTransport()) as client:
        assert answer_file(client, path, tmp_path / "out.jsonl").answered == 2


def test_articles_may_be_rows_of_a_data_set(tmp_path: Path) -> None:
    assert [each.id for each in read_squad(rows_of(tmp_path, article(), article()))] == [
        "row 1.paragraphs[0].qas[0]",
        "row 2.paragraphs[0].qas[0]",
    ]


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (article(question=""), r"2\.paragraphs\[0\]\.qas\[0\], question is empty"),
        ({"data": [article(id="a", question="")]}, r"2\.data\[0\]\.paragraphs\[0\]\.qas\[0\], qu"),
        ({"data": [article(id=None)]}, r"2\.data\[0\]\.paragraphs\[0\]\.qas\[0\], id is null"),
    ],
)
def test_a_fault_in_an_article_is_named_with_its_line_or_row(
    tmp_path: Path, row: dict[str, Any], place: str
) -> None:
    fine = {"data": [article(id="fine")]} if "data" in row else article()
    with pytest.raises(DataError, match=f"at line {place}"):
        read_squad(write_lines(tmp_path / "a.jsonl", fine, row))
    with pytest.raises(DataError, match=f"at row {place}"):
        read_squad(rows_of(tmp_path, fine, row))


def test_a_question_with_paragraphs_is_a_row_in_lines(tmp_path: Path) -> None:
    row = {"question": "Who wrote it?", "text": CONTEXT, "paragraphs": ["a"]}
    path = write_lines(tmp_path / "a.jsonl", row)
    with QAClient(transport=InProcessTransport()) as client:
        report = answer_file(client, path, tmp_path / "out.jsonl", context_column="text")
    assert report.answered == 1
