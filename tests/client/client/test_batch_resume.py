"""Files of questions whose run ended before its end."""

from __future__ import annotations

import csv
import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest

from bertqa import QAClient, SquadDecoder
from bertqa.client import BatchReport, answer_file
from bertqa.errors import DataError, ServerUnreachableError
from bertqa.qa import QATokenizer
from tests.support.models import model_info
from tests.support.question_files import CONTEXT, Counting, read

MOST = 6
"""Requests of eight. Four begin at once, and one of them has the first row."""


def many(tmp_path: Path) -> Path:
    source = tmp_path / "in.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "context"])
        writer.writerows(("Who?", f"{CONTEXT} {'x ' * (n % 7 * 40)}{n}") for n in range(60))
    return source


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl.gz", "out.parquet"])
def test_a_server_that_goes_away_leaves_rows_and_the_way_to_resume(
    tmp_path: Path, client: QAClient, output: str
) -> None:
    source, target = many(tmp_path), tmp_path / output
    breaking = QAClient(transport=Counting(MOST), timeout=0.5)
    with pytest.raises(ServerUnreachableError) as raised:
        answer_file(breaking, source, target, top_k=2)
    journal = tmp_path / f"{output}.partial"
    done = len(journal.read_bytes().splitlines())
    assert 0 < done < 60
    assert f"{done} of 60 rows are done and kept in {journal}" in str(raised.value)
    assert "the same command again to resume" in str(raised.value)
    assert not target.exists()

    with pytest.raises(DataError, match="other options"):
        answer_file(client, source, target, top_k=3)
    report = answer_file(client, source, target, top_k=2, timeout=9)

    assert report == BatchReport(answered=60, resumed=done, failed=0)
    answer_file(client, source, tmp_path / f"whole-{output}", top_k=2)
    assert read(target) == read(tmp_path / f"whole-{output}")


def test_a_context_that_changed_since_is_noticed(tmp_path: Path, client: QAClient) -> None:
    source, target = many(tmp_path), tmp_path / "out.csv"
    with pytest.raises(ServerUnreachableError):
        answer_file(QAClient(transport=Counting(MOST), timeout=0.5), source, target)
    source.write_text(source.read_text().replace("Normandy", "Brittany"))
    with pytest.raises(DataError, match="another input"):
        answer_file(client, source, target)


def test_a_server_that_is_never_there_leaves_nothing(tmp_path: Path) -> None:
    source = many(tmp_path)
    with pytest.raises(ServerUnreachableError, match="0 of 60 rows are done: run") as raised:
        answer_file(QAClient(transport=Counting(0), timeout=0.5), source, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [source]
    assert ".partial" not in str(raised.value)


def test_numbers_that_equal_nothing_do_not_keep_a_run_from_resuming(
    tmp_path: Path, client: QAClient
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"question": "Who?", "context": CONTEXT * (1 + n % 9), "x": math.nan} for n in range(120)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ServerUnreachableError):
        answer_file(QAClient(transport=Counting(MOST), timeout=0.5), source, target)
    assert answer_file(client, source, target).resumed


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"model": "another"},
        {"tokenizer": True},
        {"options": {"version": 2}},
        {"options": {"max_answer_len": 3}},
        {"options": {"decoder": SquadDecoder()}},
        {"asked": {"max_question_len": 9}},
        {"asked": {"question_column": "QUESTION"}},
    ],
    ids=str,
)
def test_other_options_of_the_client_are_noticed(tmp_path: Path, change: dict[str, Any]) -> None:
    source, target = many(tmp_path), tmp_path / "out.csv"
    if change.get("tokenizer"):
        change = {"tokenizer": QATokenizer.from_json(model_info().tokenizer_json)}
    own = {name: value for name, value in change.items() if name not in ("options", "asked")}
    with pytest.raises(ServerUnreachableError):
        answer_file(QAClient(transport=Counting(MOST), timeout=2.0), source, target)
    journal = tmp_path / "out.csv.partial"
    before = journal.read_bytes()
    another = QAClient(transport=Counting(), **own).with_options(**change.get("options", {}))

    with pytest.raises(DataError, match=r"with other options.* or remove it to start anew"):
        answer_file(another, source, target, **change.get("asked", {}))

    assert journal.read_bytes() == before
    same = QAClient(transport=Counting()).with_options(max_answer_len=15, timeout=9)
    assert answer_file(same, source, target, align_to_words=True).resumed


@pytest.mark.parametrize("full", ["out.csv.partial", "out.csv.staged"])
def test_a_full_disk_leaves_rows_and_the_way_to_resume(
    tmp_path: Path, client: QAClient, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    source, target = many(tmp_path), tmp_path / "out.csv"

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == full:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", refuse)
        with pytest.raises(DataError, match=r"No space left on device\. 60 of 60 rows"):
            answer_file(client, source, target)

    assert answer_file(client, source, target) == BatchReport(60, 60, 0)
    assert sorted(tmp_path.iterdir()) == [source, target]
