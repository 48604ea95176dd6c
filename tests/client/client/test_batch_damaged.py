"""Files of questions that are damaged, in part or as a whole."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest

from bertqa import QAClient
from bertqa.client import BatchReport, answer_file
from bertqa.errors import DataError
from tests.support.question_files import (
    LINE,
    ROWS,
    Counting,
    csv_bytes,
    lines_bytes,
    parquet_bytes,
    read,
)

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
    "zip.csv": (b"PK\x03\x04" + bytes(30), "is a ZIP archive or a workbook, not text: unpack it"),
    "old-excel.tsv": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(30),
        "is a workbook.*save the sheet",
    ),
    "xz.jsonl": (lzma.compress(LINE.encode()), "is compressed with xz, not text: unpack it first"),
    "bz2.csv.gz": (bz2.compress(csv_bytes()), "is compressed with bzip2"),
    "zip.csv.gz": (gzip.compress(b"PK\x03\x04"), "is a ZIP archive"),
    "twice.csv.gz": (gzip.compress(gzip.compress(csv_bytes())), "compressed twice with gzip"),
    "parquet.csv": (parquet_bytes(), "is a Parquet file, not text: let its name end in .parquet"),
    "array.jsonl": (f"\n[{LINE}]\n".encode(), "is a JSON array, not JSON Lines: write each"),
    "no-object.jsonl": (b"question,context\nWho?,Me\n", "no JSON object .* Line 1 is not valid"),
    "bare.jsonl": (b"{}\n{}\n", "no JSON object .* Line 1 has no question and no context"),
    "lines.csv": (lines_bytes(), "holds JSON, not CSV: let its name end in .jsonl"),
    "escaped.csv": (b'question,context\n"Who \\"x\\"?",Me\n', "line 2.*has to be written twice"),
    "more.csv": (b"question,context,,\nWho?,Me,,\nWho?,Me,,x\n", "line 3 has 4 fields"),
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
    long = '{"question": "Who?", "context": "Me", "note": ' + "9" * 5000 + "}"
    rows = [json.dumps(row) for row in (ROWS[0], *bad, *worse)]
    lines = [*rows, nested, "{", "[]", json.dumps(ROWS[4]), long]
    source.write_text("\n".join(lines), encoding="utf-8")

    report = answer_file(client, source, tmp_path / target)

    assert report == BatchReport(answered=2, resumed=0, failed=8)
    problems = [row["error"] for row in read(tmp_path / target)]
    expected = ["", "Line 2 has a lone surrogate in 'id'", "Line 3 has a lone surrogate in 'note'"]
    expected += ["The question has a lone surrogate", "context has to be a str"]
    expected += ["Line 6 is nested too deeply"]
    expected += ["Line 7 is not valid JSON", "Line 8 is not a JSON object", ""]
    expected += ["Line 10 has a number of more than 4300 digits"]
    for problem, part in zip(problems, expected, strict=True):
        assert part in problem
        assert bool(part) == bool(problem)
