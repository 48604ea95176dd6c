"""Files of questions in JSON: nothing is lost in silence, and each fault has its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertqa import QAClient
from bertqa.client import answer_file
from bertqa.errors import DataError
from bertqa.evaluation import read_squad
from tests.support.in_process import InProcessTransport
from tests.support.question_files import read

CONTEXT = "The Normans gave their name to Normandy, a region of France."
ASKED = {"question": "Who?", "context": CONTEXT}
PLAIN = json.dumps(ASKED)
NINES = "9" * 5000
# What is wrong with a row that has more fields, and where that is.
FAULTS = {
    '"n": 1, "n": 2': ("has the key 'n' twice", '"n": 2'),
    '"o": [{"n": 1, "m": 1, "\\u006e": 2}]': ("has the key 'n' twice", '"\\u006e"'),
    '"n": -1e400': ("has the number -1e400, which no double holds,", "-1e400"),
    f'"n": {NINES}': ("has a number of more than 4300 digits", NINES),
}
OUTPUTS = ["out.jsonl", "out.csv", "out.parquet"]


@pytest.fixture
def client() -> QAClient:
    return QAClient(transport=InProcessTransport(), timeout=60)


def row(more: str) -> str:
    return f"{PLAIN[:-1]}, {more}}}"


def nested(levels: int) -> str:
    return row(f'"n": {"[" * levels}{"]" * levels}')


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[:20])
def test_a_fault_spoils_a_line_and_refuses_a_document(
    tmp_path: Path, client: QAClient, fault: str
) -> None:
    text = row(fault)
    problem, where = FAULTS[fault]
    column = text.index(where) + 1
    source = tmp_path / "in.jsonl"
    source.write_text(f"{PLAIN}\n{text}\n")
    answer_file(client, source, tmp_path / "out.jsonl")
    errors = [each["error"] for each in read(tmp_path / "out.jsonl")]
    assert errors == ["", f"Line 2 {problem} at column {column}."]
    for content in (f"[{PLAIN},\n{text}]", f"{PLAIN}\n{text}"):
        document = tmp_path / "in.json"
        document.write_text(content)
        with pytest.raises(DataError) as raised:
            answer_file(client, document, tmp_path / "more.jsonl")
        assert str(raised.value) == f"{document} {problem} at line 2, column {column}."
        with pytest.raises(DataError, match=r"at line 2, column"):
            read_squad(document)


def test_what_looks_like_a_fault_within_text_is_none(tmp_path: Path, client: QAClient) -> None:
    source = tmp_path / "in.jsonl"
    odd = {"a": '1e400 {"n": 1, "n": 2} ' + "9" * 5000 + "[" * 5000, "b": '\\"', "c": {"a": [{}]}}
    source.write_text(json.dumps({**ASKED, **odd}))
    assert answer_file(client, source, tmp_path / "out.jsonl").answered == 1
    assert {name: read(tmp_path / "out.jsonl")[0][name] for name in odd} == odd


@pytest.mark.parametrize("output", OUTPUTS)
def test_nesting_has_one_limit_whatever_called(
    tmp_path: Path, client: QAClient, output: str
) -> None:
    depths = [100, 250, *range(900, 1000, 12), 99_999]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f"{nested(levels)}\n" for levels in depths))
    report = answer_file(client, source, tmp_path / output)
    assert (report.answered, report.failed) == (1, len(depths) - 1)
    assert read(tmp_path / output)[1]["error"] == "Line 2 is nested too deeply."
    document = tmp_path / "in.json"
    document.write_text(f"[{PLAIN},\n{nested(99_999)}]")
    with pytest.raises(DataError, match=r"in\.json is nested too deeply at line 2, column"):
        answer_file(client, document, tmp_path / f"more-{output}")


def test_numbers_that_json_lacks_are_written_as_text(tmp_path: Path, client: QAClient) -> None:
    odd: dict[str, Any] = {"a": float("nan"), "b": [float("inf"), {"c": float("-inf")}]}
    expected = {"a": "NaN", "b": ["Infinity", {"c": "-Infinity"}]}
    lines, table = tmp_path / "in.jsonl", tmp_path / "in.parquet"
    lines.write_text(json.dumps({**ASKED, **odd}))
    pq.write_table(pa.Table.from_pylist([{**ASKED, **odd, "b": [odd["a"]]}]), table)
    for source, of_b in ((lines, expected["b"]), (table, ["NaN"])):
        target = tmp_path / f"{source.name}.out.jsonl"
        answer_file(client, source, target)

        def refuse(constant: str) -> Any:
            raise AssertionError(constant)

        found = json.loads(target.read_text(), parse_constant=refuse)
        assert (found["a"], found["b"]) == ("NaN", of_b)


def test_digits_that_no_double_has_are_kept_in_parquet(tmp_path: Path, client: QAClient) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    numbers = {"wide": 2**53 + 1, "even": 2**53 + 2, "low": -(2**53) - 1, "few": 7}
    more: list[dict[str, Any]] = [dict(numbers), dict.fromkeys(numbers, 1.5)]
    source.write_text("\n".join(json.dumps({**ASKED, **each}) for each in more))
    answer_file(client, source, target)
    first, second = read(target)
    assert (first["wide"], first["low"]) == (str(2**53 + 1), str(-(2**53) - 1))
    assert (second["wide"], second["low"]) == ("1.5", "1.5")
    assert (first["even"], first["few"], second["few"]) == (2.0**53 + 2, 7.0, 1.5)


@pytest.mark.parametrize("content", [PLAIN, f"{PLAIN}\n", json.dumps(ASKED, indent=2)])
def test_one_record_is_a_file(tmp_path: Path, client: QAClient, content: str) -> None:
    source = tmp_path / "in.json"
    source.write_text(content)
    assert answer_file(client, source, tmp_path / "out.jsonl").answered == 1
    assert read(tmp_path / "out.jsonl")[0]["question"] == "Who?"


@pytest.mark.parametrize("content", ["[]", '{"data": []}'])
def test_a_document_without_questions_is_answered_as_an_empty_table_is(
    tmp_path: Path, client: QAClient, content: str
) -> None:
    source, target = tmp_path / "in.json", tmp_path / "out.csv"
    source.write_text(content)
    assert answer_file(client, source, target).answered == 0
    assert target.read_text().splitlines() == ["answer,start,end,score,model_version,error"]


def test_a_nul_spoils_its_row_where_the_output_is_csv(tmp_path: Path, client: QAClient) -> None:
    source = tmp_path / "in.jsonl"
    odd: list[dict[str, Any]] = [{"a": "x\0"}, {"b\0": 1}, {"context": f"\0{CONTEXT}"}]
    fine: list[dict[str, Any]] = [{"a": ["\0"]}, {}]
    source.write_text("\n".join(json.dumps({**ASKED, **each}) for each in [*odd, *fine]))
    assert answer_file(client, source, tmp_path / "out.jsonl").failed == 0
    for name in ("out.csv", "out.tsv.gz"):
        report = answer_file(client, source, tmp_path / name)
        assert (report.answered, report.failed) == (2, 3)
        rows = read(tmp_path / name)
        assert [each["a"] for each in rows] == [r"x\x00", "", "", r'["\u0000"]', ""]
        for each, column in zip(rows, (r"'a'", r"'b\x00'", "'context'"), strict=False):
            assert f"has a NUL character in {column}, which CSV cannot hold" in each["error"]
