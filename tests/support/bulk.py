"""Inputs of a bulk run, an engine in this process, and an output that kills who writes to it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from bertqa._progress import OnProgress, ignore
from bertqa.bulk import BulkReport
from bertqa.bulk._models import Model
from bertqa.bulk._places import OutputDirectory
from bertqa.bulk._plan import Job, Partition
from bertqa.bulk._run import Engine, OnFinished, run
from bertqa.bulk._worker import Outcome, attempt, raise_fault
from bertqa.client._batch._columns import Columns

FILES, ROWS = 2, 30
PARTITION = 10
BEFORE, AFTER = 1, 4
"""The partitions whose writer is killed before its part is there, and after."""


def rows_of(file: int) -> list[dict[str, str]]:
    return [
        {
            "id": f"{file}-{number}",
            "question": f"Who is number {number}?",
            "context": f"Anna {number} of Rouen wrote it in the year {file}.",
        }
        for number in range(ROWS)
    ]


IDS = [row["id"] for file in range(FILES) for row in rows_of(file)]


def write_inputs(directory: Path) -> Path:
    """Write JSON Lines, of which each row has an id of its own."""
    directory.mkdir()
    for file in range(FILES):
        lines = "".join(json.dumps(row) + "\n" for row in rows_of(file))
        (directory / f"{file}.jsonl").write_text(lines, encoding="utf-8")
    return directory


def read_parts(directory: Path) -> list[dict[str, Any]]:
    """All rows of an output in Parquet, as an engine reads the directory."""
    table = ds.dataset(directory, format="parquet").to_table()
    return table.to_pylist()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class KillingOutput(OutputDirectory):
    """An output that kills two workers with SIGKILL, each once."""

    marks: str = ""

    def write(self, name: str, content: bytes) -> None:
        number = name.partition(".")[0].removeprefix("part-")
        if number == f"{BEFORE:05d}":
            self._kill_once(number)
        OutputDirectory.write(self, name, content)
        if number == f"{AFTER:05d}":
            self._kill_once(number)

    def _kill_once(self, number: str) -> None:
        try:
            Path(self.marks, number).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def here(
    job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
) -> list[Outcome]:
    """An engine without workers: this process answers one partition after the other."""
    outcomes = []
    for partition in partitions:
        outcome = attempt(job, partition.number)
        raise_fault(outcome.fault)
        on_finished(outcome.number)
        outcomes.append(outcome)
    return outcomes


def run_with(
    engine: Engine,
    source: str | Path,
    output: OutputDirectory | str | Path,
    model: Model,
    *,
    workers: int | None = 2,
    top_k: int = 1,
    partition_rows: int | None = PARTITION,
    on_progress: OnProgress = ignore,
    question_column: str = "question",
    **options: Any,
) -> BulkReport:
    """Run as `answer_files` does, on an engine of the test's."""
    return run(
        [str(source)],
        output if isinstance(output, OutputDirectory) else OutputDirectory(str(output)),
        model,
        engine,
        workers=workers,
        top_k=top_k,
        columns=Columns(question_column, "context", None, ranked=top_k > 1),
        partition_rows=partition_rows,
        on_progress=on_progress,
        options=options,  # type: ignore[arg-type]
    )
