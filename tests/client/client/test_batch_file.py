from __future__ import annotations

import csv
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertqa import QAClient
from bertqa._progress import Progress
from bertqa.client import BatchReport, answer_file
from bertqa.errors import DataError, ServerUnreachableError
from bertqa.transport import InferResult, Inputs
from tests.support.engines import Served
from tests.support.in_process import InProcessTransport

CONTEXT = "The Normans were the people who gave their name to Normandy, a region of France."
ROWS = [
    {"id": str(number), "question": f"Who gave name {number}?", "context": f"{CONTEXT} {number}"}
    for number in range(30)
]


class Breaking(InProcessTransport):
    """Breaks down after some requests."""

    def __init__(self, requests: int) -> None:
        super().__init__()
        self._left = requests

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        self._left -= 1
        if self._left < 0:
            raise ServerUnreachableError("It is gone.")
        return super().infer(inputs, version=version, timeout=timeout)


@pytest.fixture
def client(server: Served) -> Iterator[QAClient]:
    with QAClient(**server.address(), version=1) as client:
        yield client


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_lines(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            return list(csv.DictReader(file))
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("source_format", ["csv", "jsonl"])
@pytest.mark.parametrize("target_format", ["csv", "jsonl"])
def test_every_row_gets_the_answer_that_a_question_gets(
    tmp_path: Path, client: QAClient, source_format: str, target_format: str
) -> None:
    write = {"csv": write_csv, "jsonl": write_lines}[source_format]
    source = write(tmp_path / f"in.{source_format}", ROWS)
    target = tmp_path / f"out.{target_format}"
    progress: list[Progress] = []

    report = answer_file(client, source, target, on_progress=progress.append)

    assert report == BatchReport(answered=30, resumed=0, failed=0)
    assert progress == [
        Progress(f"Answering {source}", done, 30, "questions") for done in range(31)
    ]
    for row, found in zip(ROWS, read(target), strict=True):
        answer = client.answer(row["question"], row["context"])
        assert found["id"] == row["id"]
        assert found["question"] == row["question"]
        assert "context" not in found
        assert found["answer"] == answer.text
        assert (int(found["start"]), int(found["end"])) == (answer.start, answer.end)
        assert float(found["score"]) == answer.score
        assert int(found["model_version"]) == 1
        assert found["error"] == ""
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


def test_options_reach_the_client(tmp_path: Path, client: QAClient) -> None:
    source = write_lines(tmp_path / "in.jsonl", ROWS)
    target = tmp_path / "out.jsonl"
    answer_file(client, source, target, max_answer_len=1, align_to_words=False)
    assert all(" " not in row["answer"] for row in read(target))


def test_bad_rows_are_reported_and_stop_nothing(tmp_path: Path, client: QAClient) -> None:
    lines = [
        json.dumps(ROWS[0]),
        "{broken",
        '"text"',
        '{"question": "Who?"}',
        json.dumps({**ROWS[1], "question": " "}),
        json.dumps({**ROWS[1], "context": 7}),
        json.dumps({**ROWS[1], "answer": "mine"}),
        "",
        json.dumps(ROWS[2]),
        "{}",
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text("\n".join(lines), encoding="utf-8")

    report = answer_file(client, source, target)

    assert report == BatchReport(answered=2, resumed=0, failed=7)
    problems = [row["error"] for row in read(target)]
    wanted = [
        "",
        "Line 2 is not valid JSON",
        "Line 3 is not a JSON object",
        "Line 4 has no context",
        "question is empty",
        "type int",
        "field 'answer'",
        "",
        "no question and no context",
    ]
    for expected, problem in zip(wanted, problems, strict=True):
        assert (expected in problem) if expected else problem == ""


def test_lines_within_a_field_and_the_mark_of_utf8_are_read(
    tmp_path: Path, client: QAClient
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(
        b"\xef\xbb\xbfquestion,context\r\nWho?,The Normans.\r\nWho?,caf\xc3\xa9\r\n"
        b'Who?,"two\r\nlines, The Normans."\r\n'
    )
    assert answer_file(client, source, target) == BatchReport(answered=3, resumed=0, failed=0)
    assert list(read(target)[0]) == [
        *("question", "answer", "start", "end", "score", "model_version", "error")
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("torn", [b"", b'{"id": "99", "quest'])
def test_an_interrupted_run_resumes_where_it_was(
    tmp_path: Path, client: QAClient, suffix: str, torn: bytes
) -> None:
    rows = [{**row, "context": row["context"] * (1 + number)} for number, row in enumerate(ROWS)]
    source = write_lines(tmp_path / "in.jsonl", rows)
    target, journal = tmp_path / f"out.{suffix}", tmp_path / f"out.{suffix}.partial"
    breaking = QAClient(transport=Breaking(3), timeout=0.5, version=1)
    with pytest.raises(ServerUnreachableError):
        answer_file(breaking, source, target)
    assert not target.exists()
    done = len(journal.read_bytes().splitlines())
    with journal.open("ab") as file:
        file.write(torn)

    report = answer_file(client, source, target)

    assert 0 < done < 30
    assert report == BatchReport(answered=30, resumed=done, failed=0)
    whole = tmp_path / f"whole.{suffix}"
    answer_file(client, source, whole)
    assert target.read_bytes() == whole.read_bytes()
    assert not journal.exists()


def test_what_another_input_left_behind_is_not_taken(tmp_path: Path, client: QAClient) -> None:
    source = write_lines(tmp_path / "in.jsonl", ROWS)
    target = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.partial").write_text('{"id": "7", "question": "Else?"}\n')
    with pytest.raises(DataError, match="another input"):
        answer_file(client, source, target)


def test_nothing_is_overwritten_and_nothing_strange_is_read(
    tmp_path: Path, client: QAClient
) -> None:
    source = write_csv(tmp_path / "in.csv", ROWS)
    there = tmp_path / "there.csv"
    there.write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        answer_file(client, source, there)
    assert there.read_text() == "mine"
    with pytest.raises(DataError, match="cannot be read"):
        answer_file(client, tmp_path / "missing.csv", tmp_path / "out.csv")
    strange = tmp_path / "in.txt"
    strange.write_text("question,context\n")
    with pytest.raises(DataError, match=r"has to end in \.csv"):
        answer_file(client, strange, tmp_path / "out.csv")
    lacking = tmp_path / "lacking.csv"
    lacking.write_text("question,text\nWho?,Me\n")
    with pytest.raises(DataError, match="no column context"):
        answer_file(client, lacking, tmp_path / "out.csv")
    with pytest.raises(DataError, match="cannot be written"):
        answer_file(client, source, tmp_path / "nowhere" / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.csv",
        "in.txt",
        "lacking.csv",
        "there.csv",
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("links", [True, False])
def test_a_target_that_appears_during_the_run_is_left_as_it_is(
    tmp_path: Path,
    client: QAClient,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    links: bool,
) -> None:
    source = write_lines(tmp_path / "in.jsonl", ROWS)
    target, journal = tmp_path / f"out.{suffix}", tmp_path / f"out.{suffix}.partial"
    if not links:
        monkeypatch.setattr("os.link", _no_links)

    def appear(progress: Progress) -> None:
        target.write_text("mine")

    with pytest.raises(DataError, match="appeared during the run"):
        answer_file(client, source, target, on_progress=appear)
    assert target.read_text() == "mine"
    assert len(journal.read_text().splitlines()) == len(ROWS)

    target.unlink()
    report = answer_file(client, source, target)
    assert report == BatchReport(answered=30, resumed=30, failed=0)
    assert len(read(target)) == 30
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


def _no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_name_that_leads_nowhere_is_refused_before_any_question(
    tmp_path: Path, client: QAClient
) -> None:
    source = write_lines(tmp_path / "in.jsonl", ROWS)
    target = tmp_path / "out.jsonl"
    target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="exists already"):
        answer_file(client, source, target)
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


def test_a_directory_in_the_way_of_the_output_is_an_error(tmp_path: Path, client: QAClient) -> None:
    source = write_lines(tmp_path / "in.jsonl", ROWS)
    staged = tmp_path / "out.csv.staged"
    staged.mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        answer_file(client, source, tmp_path / "out.csv")
    staged.rmdir()
    assert answer_file(client, source, tmp_path / "out.csv").resumed == len(ROWS)
