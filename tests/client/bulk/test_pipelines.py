from __future__ import annotations

import pickle
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from bertqa.bulk import AnswerBatches, LocalModel, answer_frames, answered_schema
from bertqa.errors import DataError, InvalidOptionError
from tests.support.bulk import rows_of

OWN = ["answer", "start", "end", "score", "model_version", "error"]


def test_a_batch_of_ray_comes_back_with_the_answers(model: LocalModel) -> None:
    table = pa.Table.from_pylist([*rows_of(0)[:2], {"id": "bad", "question": "", "context": "x"}])

    found = pickle.loads(pickle.dumps(AnswerBatches(model)))(table)

    assert found.column_names == ["id", "question", "context", *OWN]
    rows = found.to_pylist()
    assert [row["context"][row["start"] : row["end"]] for row in rows[:2]] == [
        row["answer"] for row in rows[:2]
    ]
    assert rows[2]["answer"] is None
    assert rows[2]["start"] is None
    assert "question" in rows[2]["error"]
    assert AnswerBatches(model)(table.slice(0, 0)).num_rows == 0


def test_a_frame_of_spark_comes_back_with_the_answers(model: LocalModel) -> None:
    frame = pd.DataFrame([*rows_of(0)[:2], {"id": "bad", "question": "", "context": "x"}])
    frame.index = [7, 8, 9]

    (found,) = answer_frames(model)(iter([frame]))

    assert list(found.columns) == ["id", "question", "context", *OWN]
    assert found["start"].dtype == "Int64"
    assert found["answer"].notna().tolist() == [True, True, False]
    assert found["error"].tolist()[:2] == ["", ""]


def test_a_missing_text_of_spark_is_named_as_one_and_not_as_a_number(model: LocalModel) -> None:
    frame = pd.DataFrame({"question": ["Who?", None], "context": [None, "Me"]})

    (found,) = answer_frames(model)(iter([frame]))

    assert found["error"].tolist() == [
        "The context has to be a str, but it is of type NoneType.",
        "The question has to be a str, but it is of type NoneType.",
    ]


def test_a_schema_with_a_column_of_the_answers_is_refused_before_any_task() -> None:
    types = pytest.importorskip("pyspark.sql.types")
    schema = types.StructType().add("question", "string").add("Answer", "string")
    with pytest.raises(DataError, match="a column 'Answer', as the answers have: rename it"):
        answered_schema(schema)
    del schema.fields[1], schema.names[1]
    assert answered_schema(schema).names == ["question", *OWN]


def test_batches_that_do_not_fit_are_refused(model: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="batch_format='pyarrow'"):
        AnswerBatches(model)({"question": ["Who?"], "context": ["Me"]})
    with pytest.raises(DataError, match="no column context; its columns are question"):
        AnswerBatches(model)(pa.table({"question": ["Who?"]}))
    with pytest.raises(DataError, match="a column 'answer'"):
        AnswerBatches(model)(pa.table({"question": ["?"], "context": ["x"], "answer": ["y"]}))
    with pytest.raises(InvalidOptionError, match="There is no option"):
        AnswerBatches(model, max_length=3)  # type: ignore[call-arg]
