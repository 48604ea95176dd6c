"""Files of questions as people have them, in each format, whole or damaged."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertqa import QAClient
from bertqa.client import BatchReport, answer_file
from bertqa.errors import DataError, InvalidOptionError, ServerUnreachableError
from bertqa.transport import InferResult, Inputs
from tests.support.in_process import InProcessTransport

CONTEXT = "The Normans gave their name to Normandy, a region of France."
OWN = ("answer", "start", "end", "score", "model_version", "error")
NOTES = ["plain", 'a "quote"', "two\nlines", "a,b;c\td|e", "é 👨\u200d👩 ", ""]
ROWS = [
    {"id": f"q{n}", "question": f"Who gave name {n}?", "context": f"{CONTEXT} {n}", "note": note}
    for n, note in enumerate(
        ["plain", 'a "quote"', "two\nlines", "a,b;c\td|e", "é 👨\u200d👩 ", ""]
    )
]
LINE = json.dumps(ROWS[0])


class Counting(InProcessTransport):
    """Counts requests, and breaks down after some."""

    def __init__(self, requests: float = math.inf) -> None:
        super().__init__()
        self.left = requests

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        self.left -= 1
        if self.left < 0:
            raise ServerUnreachableError("It is gone.")
        return super().infer(inputs, version=version, timeout=timeout)


@pytest.fixture
def transport() -> Counting:
    return Counting()


@pytest.fixture
def client(transport: Counting) -> QAClient:
    return QAClient(transport=transport, timeout=60)


def csv_bytes(delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode(encoding)


def lines_bytes() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def parquet_bytes() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


def parse(content: bytes) -> list[dict[str, Any]]:
    """Read what an output holds, whatever it is called."""
    if content.startswith(b"PAR1"):
        return pq.read_table(io.BytesIO(content)).to_pylist()  # type: ignore[no-any-return]
    text = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode()
    if text.startswith("{"):
        return [json.loads(line) for line in text.splitlines()]
    delimiter = next((each for each in ";\t|" if each in text.splitlines()[0]), ",")
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def read(path: Path) -> list[dict[str, Any]]:
    return parse(path.read_bytes())


INPUTS = {
    "in.csv": csv_bytes(),
    "in-semicolon.csv": csv_bytes(";"),
    "in-tab.csv": csv_bytes("\t"),
    "in-bar.csv": csv_bytes("|"),
    "in-mark.csv": csv_bytes(encoding="utf-8-sig"),
    "in-utf16.csv": csv_bytes("\t", "utf-16"),
    "in-excel.csv": b"sep=;\r\n" + csv_bytes(";"),
    "in-blank.csv": b"\r\n \r\n" + csv_bytes() + b"  \r\n\r\n",
    "in-mac.csv": csv_bytes().replace(b"\r\n", b"\r"),
    "in.tsv": csv_bytes("\t"),
    "in.CSV.GZ": gzip.compress(csv_bytes()),
    "in.tsv.gz": gzip.compress(csv_bytes("\t")),
    "in.jsonl": lines_bytes(),
    "in.ndjson": lines_bytes().rstrip(),
    "in.jsonl.gz": gzip.compress(lines_bytes()),
    "in.parquet": parquet_bytes(),
}
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


DAMAGED = {
    "unclosed.csv": (b'question,context\nWho?,Me\nWho?,"Me\nWho?,You\n', "line 3.*not closed"),
    "quote.csv": (b'question,context\n"Who?"x,Me\nWho?,You\n', "line 2"),
    "many.csv": (b"question,context\nWho?,Me\nWho?,Me,You\n", "line 3 has 3 fields"),
    "few.csv": (b"question,context\nWho?,Me\nWho?\nWho?,You\n", "line 3 has 1 fields"),
    "after-blank.csv": (b'\n\nquestion,context\n\na,"b\n', "line 5.*not closed"),
    "later.csv": (b'question,context\n"a\nb",c\nWho?\n', "line 4 has 1 fields"),
    "latin.csv": ("question,context\nWho?,Me\nWho?,café\n".encode("latin-1"), "line 3.*0xe9"),
    "latin.jsonl": (f"{LINE}\n".encode() + b'{"question": "caf\xe9"}\n', "line 2.*0xe9"),
    "utf16.csv": ("question,context\n".encode("utf-16-le"), "line 1 holds a NUL"),
    "odd.csv": (b"\xff\xfeq\x00\x00\xd8", "is not text"),
    "cut.csv.gz": (gzip.compress(csv_bytes() * 50)[:-30], r"damaged after line \d+"),
    "cut.jsonl.gz": (gzip.compress(lines_bytes() * 50)[:-4], r"damaged after line \d+"),
    "changed.csv.gz": (gzip.compress(csv_bytes())[:-8] + bytes(8), r"damaged after line \d+"),
    "cut.parquet": (parquet_bytes()[:-20], "cannot be read as Parquet"),
    "none.parquet": (b"question,context\n", "cannot be read as Parquet"),
    "twice.csv": (b"question,context,note,note\na,b,c,d\n", "two columns 'note'"),
    "alike.csv": (b"Question,QUESTION,context\na,b,c\n", "several columns that may be 'question'"),
    "clash.csv": (b"question,context,answer\na,b,c\n", "has a column 'answer'"),
    "lacking.csv": (b"question;text\na;b\n", "no column context; its columns are question, text"),
    "lacking.jsonl": (b'{"q": "a", "context": "b"}\n', "no question in any line; .* q, context"),
    "empty.csv": (b"", "no column question"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_before_anything_is_asked(
    tmp_path: Path, client: QAClient, transport: Counting, name: str
) -> None:
    content, message = DAMAGED[name]
    source = tmp_path / name
    source.write_bytes(content)

    with pytest.raises(DataError, match=message) as raised:
        answer_file(client, source, tmp_path / "out.csv")

    assert str(source) in str(raised.value)
    assert not transport.requests
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("target", ["out.csv", "out.jsonl", "out.parquet", "out"])
def test_a_row_that_no_encoding_has_spoils_itself_alone(
    tmp_path: Path, client: QAClient, target: str
) -> None:
    source = tmp_path / "in.jsonl"
    bad = [{**ROWS[1], "id": "\ud800"}, {**ROWS[2], "note": [{"\udc80": 1}]}]
    worse = [{**ROWS[3], "question": "\ud800?"}, {**ROWS[3], "context": None}]
    nested = '{"question": "Who?", "context": "Me", "note": ' + "[" * 99_999 + "]" * 99_999 + "}"
    rows = [json.dumps(row) for row in (ROWS[0], *bad, *worse)]
    source.write_text("\n".join([*rows, nested, "{", "[]", json.dumps(ROWS[4])]), encoding="utf-8")

    report = answer_file(client, source, tmp_path / target)

    assert report == BatchReport(answered=2, resumed=0, failed=7)
    problems = [row["error"] for row in read(tmp_path / target)]
    expected = ["", "Line 2 has a lone surrogate in 'id'", "Line 3 has a lone surrogate in 'note'"]
    expected += ["The question has a lone surrogate", "context has to be a str", "Line 6 is not"]
    expected += ["Line 7 is not valid JSON", "Line 8 is not a JSON object", ""]
    for problem, part in zip(problems, expected, strict=True):
        assert part in problem
        assert bool(part) == bool(problem)


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
    with pytest.raises(DataError, match="no column key"):
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
