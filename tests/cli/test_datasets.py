from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa_cli.datasets import read_dataset

CONTEXT = "Zoë wrote the 😀 opera in 1921."


def test_answers_that_are_left_out_are_named_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"context": CONTEXT, "question": "Who?"}
    right = {"text": ["Zoë"], "answer_start": [0]}
    records = [{**record, "id": f"q{n}", "answers": right} for n in range(99)]
    wrong = {"text": ["opera"], "answer_start": [17]}
    records.append({**record, "id": "far\x1b[31m", "answers": wrong})
    path = tmp_path / "data.json"
    path.write_text(json.dumps(records))

    dataset = read_dataset(str(path))

    captured = capsys.readouterr()
    assert len(dataset) == 99
    assert captured.out == ""
    assert captured.err.startswith("warning: data.json: left out 1 answers")
    assert r"far\x1b[31m" in captured.err
    assert "UTF-16 units" in captured.err


def test_a_whole_data_set_needs_no_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"text": ["Zoë"], "answer_start": [0]}
    path = tmp_path / "data.jsonl"
    path.write_text(
        json.dumps({"id": 1, "context": CONTEXT, "question": "Who?", "answers": answers})
    )

    assert [question.id for question in read_dataset(str(path))] == ["1"]
    assert capsys.readouterr().err == ""
