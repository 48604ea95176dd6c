"""A run without an engine: what it plans, refuses, resumes and writes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertqa.bulk import BulkReport, LocalModel, ServedModel, answer_files
from bertqa.bulk._places import reaching
from bertqa.bulk._plan import Job, Partition
from bertqa.bulk._run import OnFinished, engine_of
from bertqa.bulk._worker import Outcome, attempt, gist_of
from bertqa.client import answer_file
from bertqa.errors import (
    BertQAError,
    DataError,
    InvalidOptionError,
    ModelLoadError,
    RepositoryError,
    ServerUnreachableError,
)
from tests.support.bulk import FILES, IDS, ROWS, here, read_parts, rows_of, run_with
from tests.support.models import write_toy_version
from tests.support.question_files import INPUTS, parse
from tests.support.stores import Store, Stores

TOTAL = FILES * ROWS


def no_engine(
    job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
) -> list[Outcome]:
    raise AssertionError("nothing is to be asked")


def parts_of(output: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(output.glob("part-*")) for row in parse(path.read_bytes())]


def test_each_row_is_answered_as_answer_file_answers_it(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    report = run_with(here, inputs, tmp_path / "out", model, top_k=2)

    assert report == BulkReport(TOTAL, resumed=0, failed=0, partitions=6, model_version=1)
    expected = []
    for file in sorted(inputs.iterdir()):
        with model.open() as client:
            answer_file(client, file, tmp_path / file.name, top_k=2)
        expected += parse((tmp_path / file.name).read_bytes())
    assert parts_of(tmp_path / "out") == expected
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"_bertqa.json", "_SUCCESS", *(f"part-{n:05d}.jsonl" for n in range(6))}


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.jsonl.gz", "in.parquet"])
@pytest.mark.parametrize("target", ["out", "out.csv", "out.jsonl.gz", "out.parquet"])
def test_formats(tmp_path: Path, model: LocalModel, name: str, target: str) -> None:
    source = tmp_path / name
    source.write_bytes(INPUTS[name])

    run_with(here, source, tmp_path / target, model, partition_rows=4)

    with model.open() as client:
        answer_file(client, source, tmp_path / "one.parquet")
    found = sorted((tmp_path / target).glob("part-*"))
    assert len(found) == 2
    answers = [row["answer"] for row in parse((tmp_path / "one.parquet").read_bytes())]
    assert [row["answer"] for row in parts_of(tmp_path / target)] == answers


@pytest.mark.parametrize("group", [3, 7, 100])
def test_row_groups_of_parquet_need_not_fit_partitions(
    tmp_path: Path, model: LocalModel, group: int
) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.Table.from_pylist(rows_of(0)), source, row_group_size=group)

    run_with(here, source, tmp_path / "out", model, partition_rows=8)

    assert [row["id"] for row in read_parts(tmp_path / "out")] == IDS[:ROWS]


def test_the_manifest_says_what_the_answers_are_of(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    run_with(here, inputs, tmp_path / "out", model, max_answer_len=4)

    found = json.loads((tmp_path / "out" / "_bertqa.json").read_text(encoding="utf-8"))
    assert found["schema_version"] == 1
    assert (found["model"]["name"], found["model"]["version"]) == ("bert-qa", 1)
    assert len(found["model"]["digest"]) == 64
    assert "max_answer_len=4" in found["options"]["decoder"]
    assert [each["rows"] for each in found["inputs"]] == [ROWS] * FILES
    assert found["inputs"][0]["size"] == (inputs / "0.jsonl").stat().st_size
    assert [each["rows"] for each in found["partitions"]] == [10] * 6
    assert found["rows"] == TOTAL


def test_finished_partitions_are_not_asked_again(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    asked: list[int] = []

    def breaking(
        job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
    ) -> list[Outcome]:
        for partition in partitions[:2]:
            asked.append(attempt(job, partition.number).number)
            on_finished(partition.number)
        raise ServerUnreachableError("It is gone.")

    with pytest.raises(ServerUnreachableError, match=r"2 of 6 partitions are done: run the same"):
        run_with(breaking, inputs, tmp_path / "out", model)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}

    report = run_with(here, inputs, tmp_path / "out", model)

    assert asked == [0, 1]
    assert report == BulkReport(40, resumed=20, failed=0, partitions=6, model_version=1)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert [row["id"] for row in parts_of(tmp_path / "out")] == IDS
    report = run_with(no_engine, inputs, tmp_path / "out", model)
    assert report == BulkReport(0, resumed=TOTAL, failed=0, partitions=6, model_version=1)


def test_a_run_stays_with_its_version_when_a_newer_one_is_published(
    inputs: Path, tmp_path: Path
) -> None:
    write_toy_version(tmp_path / "repository", 1)
    model = LocalModel(repository=tmp_path / "repository")
    run_with(here, inputs, tmp_path / "out", model)
    write_toy_version(tmp_path / "repository", 2)
    (tmp_path / "out" / "part-00000.jsonl").unlink()

    assert run_with(here, inputs, tmp_path / "out", model).model_version == 1

    with pytest.raises(DataError, match=r"model\.version was 1 and is 2"):
        run_with(no_engine, inputs, tmp_path / "out", replace(model, version=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 2}, r"options\.top_k was 1 and is 2"),
        ({"max_answer_len": 3}, r"options\.decoder was .*max_answer_len=15"),
        ({"partition_rows": 20}, "partitions were 6 and are 4"),
        ({"question_column": "id"}, r"columns\.question was 'question' and is 'id'"),
    ],
)
def test_another_run_in_the_same_output_is_refused(
    inputs: Path, tmp_path: Path, model: LocalModel, options: dict[str, Any], message: str
) -> None:
    run_with(here, inputs, tmp_path / "out", model)

    with pytest.raises(DataError, match=message):
        run_with(no_engine, inputs, tmp_path / "out", model, **options)


def test_inputs_that_changed_are_refused(inputs: Path, tmp_path: Path, model: LocalModel) -> None:
    run_with(here, inputs, tmp_path / "out", model)
    os.utime(inputs / "0.jsonl", (1, 1))

    with pytest.raises(DataError, match=r"inputs\[0\]\.mark was"):
        run_with(no_engine, inputs, tmp_path / "out", model)


def test_files_of_others_are_left_as_they_are(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(DataError, match=r"has files, such as mine\.txt"):
        run_with(no_engine, inputs, tmp_path / "out", model)
    with pytest.raises(DataError, match="is not a directory"):
        run_with(no_engine, inputs, tmp_path / "out" / "mine.txt", model)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_answers_among_the_questions_are_refused_but_where_no_run_reads_them(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    with pytest.raises(InvalidOptionError, match="lies in"):
        run_with(no_engine, inputs, inputs / "answers", model)
    assert not (inputs / "answers").exists()
    for output in (inputs / "_answers", tmp_path / f"{inputs.name}-answers"):
        assert run_with(here, inputs, output, model).answered == TOTAL
        assert run_with(no_engine, inputs, output, model).resumed == TOTAL


def test_bad_inputs_are_refused_before_anything_is_written(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    (inputs / "2.jsonl").write_text('[{"question": "Who?", "context": "Me"}]', encoding="utf-8")
    with pytest.raises(DataError, match=r"2\.jsonl is a JSON array"):
        run_with(no_engine, inputs, tmp_path / "out", model)
    (inputs / "2.jsonl").unlink()
    (inputs / "2.csv").write_text("question,context\nWho?,Me\n", encoding="utf-8")
    with pytest.raises(DataError, match="files of one format at once"):
        run_with(no_engine, inputs, tmp_path / "out", model)
    with pytest.raises(DataError, match=r"nothing\*\.csv has no data files"):
        run_with(no_engine, inputs / "nothing*.csv", tmp_path / "out", model)
    with pytest.raises(DataError, match="does not exist"):
        run_with(no_engine, inputs / "3.jsonl", tmp_path / "out", model)
    assert not (tmp_path / "out").exists()


def test_a_bad_row_spoils_itself_alone(tmp_path: Path, model: LocalModel) -> None:
    source = tmp_path / "in.jsonl"
    rows = [json.dumps(rows_of(0)[0]), "{", json.dumps({"question": "", "context": "Me"})]
    source.write_text("\n".join(rows), encoding="utf-8")

    report = run_with(here, source, tmp_path / "out", model)

    assert (report.answered, report.failed) == (1, 2)
    assert [bool(row["error"]) for row in parts_of(tmp_path / "out")] == [False, True, True]


def test_rows_that_vanished_since_the_plan_end_the_run(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    def late(
        job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
    ) -> list[Outcome]:
        (inputs / "1.jsonl").write_text(json.dumps(rows_of(1)[0]), encoding="utf-8")
        return here(job, partitions, workers, on_finished)

    with pytest.raises(DataError, match="fewer rows than when the run began"):
        run_with(late, inputs, tmp_path / "out", model)


def test_a_worker_refuses_another_model_than_the_run_began_with(
    inputs: Path, tmp_path: Path
) -> None:
    directory = write_toy_version(tmp_path / "repository", 1)

    def elsewhere(
        job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
    ) -> list[Outcome]:
        weights = directory / "model.bin"
        weights.write_bytes(weights.read_bytes() + b"\0")
        return here(job, partitions, workers, on_finished)

    with pytest.raises(ModelLoadError, match="other files than the one that the run began with"):
        run_with(
            elsewhere, inputs, tmp_path / "out", LocalModel(repository=tmp_path / "repository")
        )


def test_an_output_that_only_workers_see_is_reported(
    inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    def elsewhere(
        job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
    ) -> list[Outcome]:
        return [Outcome(each.number, each.rows) for each in partitions]

    with pytest.raises(DataError, match=r"lacks part-00000\.jsonl and 5 more"):
        run_with(elsewhere, inputs, tmp_path / "out", model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": "dask"}, "on is 'dask'"),
        ({"model": "bert-qa"}, "model is 'bert-qa'"),
        ({"workers": 0}, "workers is 0"),
        ({"version": 1}, "the model names a version"),
        ({"output": ""}, "output is ''"),
        ({"question_column": "context"}, "both in the column"),
    ],
)
def test_arguments_are_checked_before_any_work(
    inputs: Path, tmp_path: Path, model: LocalModel, arguments: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"inputs": inputs, "output": tmp_path / "out", "model": model}
    given |= {"on": "ray", **arguments}
    with pytest.raises(InvalidOptionError, match=message):
        answer_files(**given)


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyspark", None)
    with pytest.raises(BertQAError, match="need the extra 'spark'"):
        engine_of("spark")


def test_a_failure_of_an_engine_is_reported_without_its_stack_traces() -> None:
    java = (
        "An error occurred while calling o67.collectToPython.\n: org.apache.spark.SparkException: "
        "Python worker exited unexpectedly (crashed)\n\tat org.apache.spark.A.b(A.scala:1)\n"
        "\t... 3 more\nDriver stacktrace:\n\tat java.base/java.lang.Thread.run(Thread.java:840)\n"
    )
    python = (
        'Traceback (most recent call last):\n  File "work.py", line 1, in <module>\n    work()\n'
        "OSError: [Errno 28] No space left on device\n"
    )
    assert gist_of(RuntimeError(java)).splitlines() == [
        "An error occurred while calling o67.collectToPython.",
        ": org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)",
    ]
    assert gist_of(RuntimeError(python)) == "OSError: [Errno 28] No space left on device"
    assert gist_of(RuntimeError("")) == "RuntimeError"


def test_a_place_that_cannot_be_made_is_not_said_to_be_missing() -> None:
    with (
        pytest.raises(DataError, match="out/part cannot be written: No such file or directory"),
        reaching("out/part", "written"),
    ):
        raise FileNotFoundError(2, "No such file or directory")


def test_models_hide_their_secrets_and_check_their_places(tmp_path: Path) -> None:
    shown = repr(ServedModel(url="qa.example:9000", token="secret", headers={"x": "secret"}))
    assert "secret" not in shown
    with pytest.raises(RepositoryError, match="no model repository"):
        LocalModel(repository=tmp_path / "none").open()
    with pytest.raises(InvalidOptionError, match="threads is 0"):
        LocalModel(repository=tmp_path, threads=0)


def test_inputs_output_and_repository_in_an_object_store(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path
) -> None:
    store: Store = stores.store("s3")
    store.use(monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for path in repository.rglob("*"):
        if path.is_file():
            store.write(f"models/{path.relative_to(repository)}", path.read_bytes())
    for file in range(FILES):
        pq.write_table(pa.Table.from_pylist(rows_of(file)), tmp_path / "in.parquet")
        store.write(f"in/{file}.parquet", (tmp_path / "in.parquet").read_bytes())
    model = LocalModel(repository=f"{store.url}/models")

    report = run_with(here, f"{store.url}/in/*.parquet", f"{store.url}/out.jsonl", model)

    assert report == BulkReport(TOTAL, resumed=0, failed=0, partitions=6, model_version=1)
    contents = store.contents()
    parts = sorted(name for name in contents if name.startswith("out.jsonl/part-"))
    assert [row["id"] for part in parts for row in parse(contents[part])] == IDS
    assert contents["out.jsonl/_SUCCESS"] == b""
    report = run_with(no_engine, f"{store.url}/in/*.parquet", f"{store.url}/out.jsonl", model)
    assert report.resumed == TOTAL
