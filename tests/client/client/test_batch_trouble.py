"""Files of questions that are long, and runs that are interrupted."""

from __future__ import annotations

import csv
import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from bertqa import QAClient
from bertqa.client import BatchReport, answer_file
from bertqa.errors import DataError, ServerUnreachableError
from tests.client.client.test_batch_formats import CONTEXT, Counting, read


@pytest.fixture
def client() -> QAClient:
    return QAClient(transport=Counting(), timeout=60)


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
    breaking = QAClient(transport=Counting(3), timeout=0.5)
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
        answer_file(QAClient(transport=Counting(3), timeout=0.5), source, target)
    source.write_text(source.read_text().replace("Normandy", "Brittany"))
    with pytest.raises(DataError, match="another input"):
        answer_file(client, source, target)


def test_a_server_that_is_never_there_leaves_nothing(tmp_path: Path) -> None:
    source = many(tmp_path)
    with pytest.raises(ServerUnreachableError, match="0 of 60 rows"):
        answer_file(QAClient(transport=Counting(0), timeout=0.5), source, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [source]


def test_numbers_that_equal_nothing_do_not_keep_a_run_from_resuming(
    tmp_path: Path, client: QAClient
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"question": "Who?", "context": CONTEXT * (1 + n % 9), "x": math.nan} for n in range(60)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ServerUnreachableError):
        answer_file(QAClient(transport=Counting(3), timeout=0.5), source, target)
    assert answer_file(client, source, target).resumed


@pytest.mark.parametrize(
    ("rows", "width"), [(2_000, 10_000), pytest.param(20_000, 1_000, marks=pytest.mark.thorough)]
)
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, client: QAClient, rows: int, width: int
) -> None:
    """Rows are read again and again, and never kept: the reader is a stream."""
    source = tmp_path / "in.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "context", "note"])
        writer.writerows(("", CONTEXT, "x" * width) for _ in range(rows))
    peaks = [_peak(lambda: answer_file(client, source, tmp_path / "out.csv"))]
    assert peaks[0] < 15e6


def _peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
