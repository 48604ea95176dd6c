"""Files of questions: two runs at once, and values of Parquet that Python lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertqa import QAClient
from bertqa._progress import Progress
from bertqa.client import answer_file
from bertqa.errors import DataError
from tests.support.in_process import InProcessTransport
from tests.support.question_files import read

CONTEXT = "The Normans gave their name to Normandy, a region of France."


@pytest.fixture
def client() -> QAClient:
    return QAClient(transport=InProcessTransport(), timeout=60)


def test_a_second_run_on_the_same_output_is_refused(tmp_path: Path, client: QAClient) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'question,context\nWho?,"{CONTEXT}"\nWhere?,"{CONTEXT}"\n')
    refused: list[str] = []

    def begin_another(progress: Progress) -> None:
        with pytest.raises(DataError, match="Another run is writing") as raised:
            answer_file(client, source, target)
        refused.append(str(raised.value))

    assert answer_file(client, source, target, on_progress=begin_another).answered == 2
    assert refused
    assert sorted(tmp_path.iterdir()) == [source, target]


def test_binary_columns_are_text_where_they_hold_text(tmp_path: Path, client: QAClient) -> None:
    source = tmp_path / "in.parquet"
    columns = {
        "question": [b"Who?", "Wer, größer?".encode(), b"\xff"],
        "context": [CONTEXT.encode()] * 3,
        "id": [b"a", b"", b"c"],
        "raw": [b"caf\xc3\xa9", b"\xff\x00", None],
        "more": [[b"x", b"\xff"], [], None],
    }
    pq.write_table(pa.table(columns), source)
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        report = answer_file(client, source, tmp_path / name)
        assert (report.answered, report.failed) == (2, 1)
        rows = read(tmp_path / name)
        assert "question has to be a str" in rows[2]["error"]
    assert [row["raw"] for row in rows] == columns["raw"]
    for name, nothing in (("out.csv", ""), ("out.jsonl", None)):
        rows = read(tmp_path / name)
        assert [row["question"] for row in rows] == ["Who?", "Wer, größer?", "/w=="]
        assert [row["raw"] for row in rows] == ["café", "/wA=", nothing]
    assert rows[0]["more"] == ["x", "/w=="]
    report = answer_file(client, source, tmp_path / "ids.csv", id_column="ID")
    assert report.failed == 2


@pytest.mark.parametrize(
    "values",
    [
        pa.array([-(2**62)], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([1], pa.timestamp("ms", "Nowhere/Town")),
        pa.array([2**60], pa.duration("s")),
        pa.array([2**30], pa.date32()),
        pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
    ],
    ids=lambda values: str(values.type),
)
@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.csv"])
def test_a_value_that_python_lacks_passes_through(
    tmp_path: Path, client: QAClient, values: pa.Array, output: str
) -> None:
    source = tmp_path / "in.parquet"
    table = pa.table({"question": ["Who?"], "context": [CONTEXT], "odd": values})
    pq.write_table(table, source)
    assert answer_file(client, source, tmp_path / output).answered == 1
    if output == "out.parquet":
        assert pq.read_table(tmp_path / output)["odd"].chunk(0).equals(values)


@pytest.mark.parametrize("output", ["out.parquet", "out.jsonl", "out.csv"])
def test_a_field_whose_name_no_encoding_has_spoils_its_row_alone(
    tmp_path: Path, client: QAClient, output: str
) -> None:
    source = tmp_path / "in.jsonl"
    asked = {"question": "Who?", "context": CONTEXT}
    source.write_text("\n".join(json.dumps({**asked, name: 1}) for name in ("\ud800", "note")))

    report = answer_file(client, source, tmp_path / output)

    assert (report.answered, report.failed) == (1, 1)
    first, second = read(tmp_path / output)
    assert first["error"] == r"Line 1 has a lone surrogate in '\ud800': it was decoded wrongly."
    assert second["answer"]
