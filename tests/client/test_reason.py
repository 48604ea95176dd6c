from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertqa._reason import reason_of
from bertqa.client import answer_file
from bertqa.errors import BertQAError
from bertqa.evaluation import report_on_log


def test_the_reason_does_not_repeat_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        (tmp_path / "absent.json").read_bytes()

    assert reason_of(raised.value) == "No such file or directory"
    assert reason_of(ValueError("not a number")) == "not a number"
    assert reason_of(OSError("no strerror")) == "no strerror"


def test_a_message_names_its_file_once(tmp_path: Path) -> None:
    path = tmp_path / "absent.jsonl"
    no_client: Any = None
    for read in (report_on_log, lambda path: answer_file(no_client, path, tmp_path / "out.csv")):
        with pytest.raises(BertQAError) as raised:
            read(path)
        assert str(raised.value) == f"{path} cannot be read: No such file or directory."
