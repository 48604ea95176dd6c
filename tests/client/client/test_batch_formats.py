"""Files of questions as people have them, in each format, whole or damaged."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertqa import QAClient
from bertqa.client import BatchReport, answer_file
from bertqa.errors import DataError, InvalidOptionError
from tests.support.question_files import (
    CONTEXT,
    INPUTS,
    OWN,
    ROWS,
    csv_bytes,
    parse,
    read,
)

OUTPUTS = ["out.csv", "out.tsv", "out.csv.gz", "out.jsonl", "out.ndjson.gz", "out.parquet"]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        *((name, "out.jsonl") for name in INPUTS),
        *((name, output) for name in ("in-semicolon.csv", "in.parquet") for output in OUTPUTS),
    ],
)
def test_every_format_is_read_and_written_without_a_change(
    tmp_path: Path, client: QAClient, name: str, output: str
) -> None:
    source, target = tmp_path / name, tmp_path / output
    source.write_bytes(INPUTS[name])

    report = answer_file(client, source, target)

    assert report == BatchReport(answered=len(ROWS), resumed=0, failed=0)
    for row, found in zip(ROWS, read(target), strict=True):
        answer = client.answer(row["question"], row["context"])
        assert list(found) == ["id", "question", "note", *OWN]
        assert [found[each] for each in ("id", "question", "note", "error")] == [
            *(row["id"], row["question"], row["note"], "")
        ]
        assert (found["answer"], float(found["score"])) == (answer.text, answer.score)
        assert (int(found["start"]), int(found["end"])) == (answer.start, answer.end)
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("in-semicolon.csv", b"id;question;note"),
        ("in-bar.csv", b"id|question|note"),
        ("in.tsv.gz", b"id\tquestion\tnote"),
        ("in.jsonl", b'{"id"'),
        ("in.parquet", b"PAR1"),
    ],
)
def test_a_name_without_a_format_gets_the_input_s(
    tmp_path: Path, client: QAClient, name: str, beginning: bytes
) -> None:
    source, target = tmp_path / name, tmp_path / "answers"
    source.write_bytes(INPUTS[name])
    answer_file(client, source, target)
    assert target.read_bytes().startswith(beginning)
    assert len(read(target)) == len(ROWS)


def test_columns_have_other_names_in_any_case(tmp_path: Path, client: QAClient) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("ID, Frage ,TEXT,context\na,Who?,The Normans.,kept\n,Who?,The Normans.,x\n")

    report = answer_file(
        *(client, source, target),
        question_column="frage",
        context_column="text",
        id_column="id",
    )

    assert report == BatchReport(answered=1, resumed=0, failed=1)
    first, second = read(target)
    assert list(first) == ["ID", " Frage ", "context", *OWN]
    assert (first["context"], first["error"]) == ("kept", "")
    assert second["error"] == "Line 3 has nothing in id."
    with pytest.raises(DataError, match=r"no column key; .* Name another with id_column=\."):
        answer_file(client, source, tmp_path / "a.csv", id_column="key", question_column="frage")
    with pytest.raises(InvalidOptionError, match="both in the column"):
        answer_file(client, source, tmp_path / "a.csv", question_column="CONTEXT")


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_several_answers_have_a_row_each(tmp_path: Path, client: QAClient, name: str) -> None:
    source, target = tmp_path / name, tmp_path / name.replace("in", "out")
    source.write_bytes(INPUTS[name])

    report = answer_file(client, source, target, top_k=3, max_answer_len=4)

    assert report.answered == len(ROWS)
    found = read(target)
    for row in ROWS:
        answers = client.answers(row["question"], row["context"], top_k=3, max_answer_len=4)
        ours = [each for each in found if each["id"] == row["id"]]
        assert [int(each["rank"]) for each in ours] == [*range(1, len(answers) + 1)]
        assert [each["answer"] for each in ours] == [answer.text for answer in answers]
        assert {each["note"] for each in ours} == {row["note"]}


@pytest.mark.parametrize(
    "options",
    [
        *({"top_k": 0}, {"top_k": "many"}, {"question_column": 3}, {"id_column": ["id"]}),
        *({"source": 7}, {"target": None}, {"unknown": 1}, {"max_answer_len": 0}),
    ],
    ids=str,
)
def test_an_option_that_is_not_valid_is_refused(
    tmp_path: Path, client: QAClient, options: dict[str, Any]
) -> None:
    (tmp_path / "in.csv").write_bytes(INPUTS["in.csv"])
    files: dict[str, Any] = {
        "source": str(tmp_path / "in.csv"),
        "target": str(tmp_path / "out.csv"),
    }
    with pytest.raises(InvalidOptionError):
        answer_file(client, **{**files, **options})
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    assert answer_file(client, **files).answered == len(ROWS)  # Names of files may be texts.


def test_header_only_files_keep_their_columns(tmp_path: Path, client: QAClient) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,question,context,note\r\n")
    for name in ("out.csv", "out.parquet", "out.jsonl"):
        assert answer_file(client, source, tmp_path / name) == BatchReport(0, 0, 0)
    kept = ["id", "question", "note", *OWN]
    assert (tmp_path / "out.csv").read_text() == ",".join(kept) + "\n"
    assert pq.read_schema(tmp_path / "out.parquet").names == kept
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_parquet_keeps_types_that_others_lack(tmp_path: Path, client: QAClient) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    table = pa.table(
        {
            "question": pa.array(["Who?", None, "Where?"]).dictionary_encode(),
            "context": pa.array([CONTEXT] * 3, pa.large_string()),
            "at": pa.array([moment, None, moment], pa.timestamp("ns", "UTC")),
            "tags": [["a"], [], None],
            "more": [{"x": 1.5}, {"x": None}, None],
            "small": pa.array([1, 2, None], pa.int8()),
            "raw": [b"\xff", b"", None],
        }
    )
    source = tmp_path / "in.parquet"
    pq.write_table(table, source)

    assert answer_file(client, source, tmp_path / "out.parquet", top_k=2).failed == 1
    found = pq.read_table(tmp_path / "out.parquet")
    first = found.take([found["rank"].to_pylist().index(1)])
    for name in ("at", "tags", "more", "small", "raw", "question"):
        assert found.schema.field(name).type == table.schema.field(name).type
        assert first[name].to_pylist() == table[name].slice(0, 1).to_pylist()
    assert answer_file(client, source, tmp_path / "out.jsonl").failed == 1
    assert read(tmp_path / "out.jsonl")[0]["more"] == {"x": 1.5}
    assert answer_file(client, source, tmp_path / "out.csv").failed == 1
    assert read(tmp_path / "out.csv")[0]["tags"] == '["a"]'


def test_types_of_json_are_kept_in_parquet_where_they_agree(
    tmp_path: Path, client: QAClient
) -> None:
    source = tmp_path / "in.jsonl"
    more: list[dict[str, Any]] = [
        {"n": 1, "x": 1, "b": True, "s": "é", "mixed": 1, "big": 2**70, "nan": math.nan},
        {"n": None, "x": 2.5, "b": False, "s": "", "mixed": "a", "big": 1, "deep": {"a": [1]}},
    ]
    asked: dict[str, Any] = {"question": "Who?", "context": CONTEXT}
    rows = [asked | each for each in more]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    answer_file(client, source, tmp_path / "out.parquet")

    first, second = read(tmp_path / "out.parquet")
    assert [first[each] for each in ("n", "x", "b", "s", "mixed")] == [1, 1.0, True, "é", "1"]
    assert (first["big"], first["deep"]) == (str(2**70), None)
    assert [second[each] for each in ("n", "x", "b", "s", "mixed")] == [None, 2.5, False, "", "a"]
    assert second["deep"] == '{"a": [1]}'


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("name", "delimiter", "output", "written"),
    [
        ("in.csv", ";", "out.csv", ";"),
        ("in.csv", ";", "out.csv.gz", ";"),
        ("in.csv", ";", "out", ";"),
        ("in.csv", ";", "out.tsv", "\t"),
        ("in.csv", "|", "out.csv", "|"),
        ("in.csv", ",", "out.csv", ","),
        ("in.tsv", "\t", "out.csv", "\t"),
        ("in.csv.gz", ";", "out.csv", ";"),
    ],
)
def test_csv_from_csv_keeps_the_delimiter_and_the_mark(
    tmp_path: Path,
    client: QAClient,
    name: str,
    delimiter: str,
    output: str,
    written: str,
    mark: str,
) -> None:
    source, target = tmp_path / name, tmp_path / output
    table = f"{mark}id,question,context\r\n1,Who?,Anna.\r\n".replace(",", delimiter).encode()
    source.write_bytes(gzip.compress(table) if name.endswith(".gz") else table)

    answer_file(client, source, target)

    data = target.read_bytes()
    text = (gzip.decompress(data) if output.endswith(".gz") else data).decode()
    assert text.startswith(f"{mark}id{written}question{written}answer{written}start{written}")


def test_csv_from_utf_16_is_marked_and_from_json_lines_has_commas(
    tmp_path: Path, client: QAClient
) -> None:
    (tmp_path / "in.csv").write_text("question;context\nWho?;Anna.\n", encoding="utf-16")
    (tmp_path / "in.jsonl").write_text('{"question": "Who?", "context": "Anna."}\n')

    for name in ("in.csv", "in.jsonl"):
        answer_file(client, tmp_path / name, tmp_path / f"{name}.out.csv")

    assert (tmp_path / "in.csv.out.csv").read_text("utf-8").startswith("\ufeffquestion;answer;")
    assert (tmp_path / "in.jsonl.out.csv").read_text("utf-8").startswith("question,answer,")


@pytest.mark.parametrize("name", ["in.csv", "in.tsv.gz", "in.jsonl", "in.parquet"])
def test_pipes_on_both_sides(
    tmp_path: Path,
    client: QAClient,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(INPUTS[name])))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, write_through=True))

    assert answer_file(client, Path("-"), Path("-")).answered == len(ROWS)

    found = parse(written.getvalue())
    assert [row["note"] for row in found] == [row["note"] for row in ROWS]
    assert all(row["answer"] for row in found)


def test_named_pipes_are_read_and_written(tmp_path: Path, client: QAClient) -> None:
    source, target = tmp_path / "in", tmp_path / "out.jsonl"
    os.mkfifo(source)
    os.mkfifo(target)
    received: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: source.write_bytes(csv_bytes(";"))),
        threading.Thread(target=lambda: received.append(target.read_bytes())),
    ]
    for thread in threads:
        thread.start()

    report = answer_file(client, source, target)

    for thread in threads:
        thread.join()
    assert report.answered == len(ROWS)
    assert [json.loads(line)["id"] for line in received[0].splitlines()] == [
        row["id"] for row in ROWS
    ]


def test_without_pyarrow_a_sentence_names_the_extra(
    tmp_path: Path, client: QAClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.parquet").write_bytes(INPUTS["in.parquet"])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs the extra 'parquet'"):
        answer_file(client, tmp_path / "in.parquet", tmp_path / "out.csv")


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
    import tracemalloc

    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_field_that_no_line_has_is_named_with_its_own_option(
    tmp_path: Path, client: QAClient
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text('{"Q": "Who?", "context": "Me."}\n')
    with pytest.raises(DataError, match=r"Name another with question_column=\."):
        answer_file(client, source, target)
    with pytest.raises(DataError, match=r"Name others with question_column= and id_column=\."):
        answer_file(client, source, target, id_column="Nr")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.xlsx", b"PK\x03\x04...", "a workbook, not text: .* save the sheet as CSV in UTF-8"),
        (
            "in.json",
            b'\n [{"question": "Who?"}]',
            "has no context in any line; its fields are question",
        ),
        ("in.csv.bz2", b"BZh91AY", "compressed with bzip2, not text: unpack it first"),
        ("in.txt", b"question,context\n", r"in\.txt has to end in \.csv.* Rename it where it is"),
        ("in.csv", "question,context\né,x\n".encode("cp1252"), "in Excel, 'CSV UTF-8'"),
    ],
)
def test_an_input_of_another_format_is_named_by_its_content(
    tmp_path: Path, client: QAClient, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        answer_file(client, tmp_path / name, tmp_path / "out.csv")


@pytest.mark.parametrize("name", ["out.xlsx", "out.JSON", "out.gz", "out.parquet.gz"])
def test_an_output_never_has_the_name_of_a_format_that_it_does_not_hold(
    tmp_path: Path, client: QAClient, name: str
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("question,context\nWho?,The Normans.\n")
    with pytest.raises(DataError, match=r"is another format\. Let its name end in \.csv"):
        answer_file(client, source, tmp_path / name)
    assert list(tmp_path.iterdir()) == [source]
