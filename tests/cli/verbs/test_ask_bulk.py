"""`bert-qa ask --on`: what it refuses, and what it says it has done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertqa.bulk import BulkReport
from tests.cli.conftest import Invoke


@pytest.mark.parametrize("names", [("-", "answers"), ("questions", "-")])
def test_workers_have_no_standard_input_or_output(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source, output = names
    result = invoke("ask", "--on", "ray", "--input", source, "--output", output)
    assert result.status == 2
    assert "standard input and output" in result.err
    assert not list(tmp_path.iterdir())


def test_rows_of_an_earlier_run_are_not_called_answered(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answered(*_: Any, **__: Any) -> BulkReport:
        return BulkReport(answered=0, resumed=3, failed=0, partitions=1, model_version=2)

    monkeypatch.setattr("bertqa.bulk.answer_files", answered)
    result = invoke("ask", "--on", "ray", "--input", "questions", "--output", "answers")
    assert "0 questions answered by version 2 in 1 file of answers; 3 rows by an" in result.out
