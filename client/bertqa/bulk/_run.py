"""A run: plan it, write down what it is, have an engine answer what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Unpack

from bertqa import _checks
from bertqa._progress import OnProgress, Progress, ignore
from bertqa._words import counted
from bertqa.bulk._manifest import MANIFEST, check_same, manifest_of, read_manifest
from bertqa.bulk._models import LocalModel, Model, ServedModel, identified
from bertqa.bulk._places import OutputDirectory, absolute, find_files, is_among
from bertqa.bulk._plan import PART, Job, Partition, planned
from bertqa.bulk._worker import Outcome
from bertqa.client import AskOptions, check_options
from bertqa.client._batch._columns import Columns
from bertqa.client._batch._formats import check_name
from bertqa.errors import BertQAError, DataError, InvalidOptionError

OnFinished = Callable[[int], None]
Engine = Callable[[Job, Sequence[Partition], int | None, OnFinished], list[Outcome]]
"""Has partitions answered by workers, and says of each when its part is there."""

ENGINES = ("ray", "spark")
SUCCESS = "_SUCCESS"

_NEEDED = {"ray": ("ray", "pyarrow", "fsspec"), "spark": ("pyspark", "pandas", "pyarrow", "fsspec")}
_OF_THE_MODEL = ("version", "key")
_COUNT = _checks.whole(1)


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What a run has done.

    Attributes:
        answered: Rows with an answer.
        resumed: Rows of partitions that an earlier run finished; they are not among the others.
        failed: Rows with an error.
        partitions: How many files of answers there are.
        model_version: The version that answered.
    """

    answered: int
    resumed: int
    failed: int
    partitions: int
    model_version: int


def answer_files(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    model: Model,
    *,
    on: Literal["ray", "spark"],
    workers: int | None = None,
    top_k: int = 1,
    question_column: str = "question",
    context_column: str = "context",
    id_column: str | None = None,
    partition_rows: int | None = None,
    on_progress: OnProgress = ignore,
    **options: Unpack[AskOptions],
) -> BulkReport:
    """Answer each row of many files, by workers of Ray or Spark on any number of machines.

    The inputs are divided into partitions, and the answers of each are one file of the output,
    which appears whole or not at all: however often a worker is killed and its partition answered
    again, no row is lost and none is there twice. The same call resumes what was interrupted, and
    does not ask what is there. Files and options are those of `bertqa.answer_file`, and so are the
    output's columns.

    The output also has `_bertqa.json`, which says which model, options and inputs the answers are
    of, and, when all are there, `_SUCCESS`.

    Args:
        inputs: Files, directories or patterns (`*`, `?`, `[...]`): paths that each machine has, or
            addresses of an object store such as `s3://bucket/*.parquet`, of one format.
        output: A directory, or its address in a store. Its name decides the format as that of a
            file does (`answers.parquet`); another name has the format of the inputs.
        model: A `ServedModel`, which the workers ask, or a `LocalModel`, which each of them loads.
        on: The engine: "ray" takes the cluster of `ray.init` or RAY_ADDRESS, "spark" the session or
            the master that is configured. Without one, either starts on this machine alone.
        workers: How many workers there are at once; None is one for each four cores of Ray's
            cluster. A session of Spark that is there has as many as its executors have slots.
        top_k: See `bertqa.answer_file`.
        question_column: See `bertqa.answer_file`.
        context_column: See `bertqa.answer_file`.
        id_column: See `bertqa.answer_file`.
        partition_rows: How many rows a partition has at most; None follows from their number.
        on_progress: Called when partitions are finished.
        **options: See `AskOptions`; the version belongs to the model.

    Returns:
        How many rows were answered.

    Raises:
        InvalidOptionError: An option is not valid.
        DataError: An input is damaged, a store cannot be read or written, or the output has answers
            of another run.
        BertQAError: The engine is not installed, or the server, the model or a worker failed; the
            message says how many partitions are done.
    """
    if on not in ENGINES:
        raise _checks.refused("on", on, " or ".join(map(repr, ENGINES)))
    if not isinstance(model, ServedModel | LocalModel):
        raise _checks.refused("model", model, "a ServedModel or a LocalModel")
    workers = _checks.optional(_COUNT)("workers", workers)
    engine = engine_of(on)
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    return run(
        [absolute("inputs", each) for each in given],
        OutputDirectory(absolute("output", output)),
        model,
        engine,
        workers=workers,
        top_k=_COUNT("top_k", top_k),
        columns=Columns(
            _checks.text("question_column", question_column),
            _checks.text("context_column", context_column),
            _checks.optional(_checks.text)("id_column", id_column),
            ranked=_COUNT("top_k", top_k) > 1,
        ),
        partition_rows=_checks.optional(_COUNT)("partition_rows", partition_rows),
        on_progress=on_progress,
        options=options,
    )


def engine_of(name: str) -> Engine:
    """Return an engine, which is imported when it is asked for.

    Args:
        name: One of `ENGINES`.

    Raises:
        BertQAError: Its extra is not installed.
    """
    for module in _NEEDED[name]:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise BertQAError(
                f"Bulk runs on {name} need the extra '{name}', for {module} is not installed: from "
                f"a clone of the project, run pip install '.[{name}]', on each machine.",
                detail=str(error),
            ) from error
    engine: Engine = import_module(f"bertqa.bulk._{name}").run_on_workers
    return engine


def run(
    inputs: Sequence[str],
    output: OutputDirectory,
    model: Model,
    engine: Engine,
    *,
    workers: int | None,
    top_k: int,
    columns: Columns,
    partition_rows: int | None,
    on_progress: OnProgress,
    options: AskOptions,
) -> BulkReport:
    """Do as `answer_files`, on an engine, with options that are checked.

    Args:
        inputs: Absolute addresses.
        output: The output.
        model: The model.
        engine: The engine.
        workers: How many workers there are at once, None for the engine's choice.
        top_k: How many answers to return to a question at most.
        columns: The names of the columns.
        partition_rows: How many rows a partition has at most, None for what follows.
        on_progress: Called when partitions are finished.
        options: See `AskOptions`.

    Returns:
        How many rows were answered.

    Raises:
        BertQAError: See `answer_files`.
    """
    foreign = [name for name in _OF_THE_MODEL if options.get(name) is not None]
    if foreign:
        raise InvalidOptionError(f"{foreign[0]}= cannot be passed here: the model names a version.")
    check_options(options)
    check_name(Path(output.address))
    for each in inputs:
        if is_among(output.address, each):
            raise InvalidOptionError(
                f"{output.address} lies in {each}, whose files are the questions: the answers "
                "would be read as questions when the run is resumed. Name a place beside it."
            )
    present = output.names()
    before = _manifest_in(output, present)
    plan = planned(find_files(inputs), output, columns, partition_rows, on_progress)
    on_progress(Progress("Finding the version that answers"))
    known = None if before is None else int(before["model"]["version"])
    pinned, identity = identified(model, known)
    job = Job(
        model=pinned, identity=identity, plan=plan, output=output, top_k=top_k, options=options
    )
    manifest = manifest_of(job)
    if before is None:
        output.write(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    else:
        check_same(before, manifest, output.address)
    missing = [each for each in plan.partitions if plan.part(each) not in present]
    outcomes = _answered(job, missing, engine, workers, on_progress) if missing else []
    _check_complete(job)
    output.sweep(PART)
    output.write(SUCCESS, b"")
    return BulkReport(
        answered=sum(each.answered for each in outcomes),
        resumed=plan.rows - sum(each.rows for each in missing),
        failed=sum(each.failed for each in outcomes),
        partitions=len(plan.partitions),
        model_version=identity.version,
    )


def _manifest_in(output: OutputDirectory, present: set[str]) -> dict[str, Any] | None:
    """Return the manifest of an earlier run in an output, None where it is empty."""
    if MANIFEST in present:
        return read_manifest(output.read(MANIFEST), output.address)
    if present:
        raise DataError(
            f"{output.address} has files, such as {min(present)}, and no {MANIFEST} of a run: name "
            "a directory that is empty or not there."
        )
    return None


def _answered(
    job: Job,
    missing: Sequence[Partition],
    engine: Engine,
    workers: int | None,
    on_progress: OnProgress,
) -> list[Outcome]:
    plan = job.plan
    waiting = {each.number: each.rows for each in missing}

    def show() -> None:
        done = len(plan.partitions) - len(waiting)
        on_progress(
            Progress(
                f"Answering with version {job.identity.version}",
                plan.rows - sum(waiting.values()),
                plan.rows,
                "questions",
                f"{done} of {counted(len(plan.partitions), 'partition')}",
            )
        )

    def finished(number: int) -> None:
        if waiting.pop(number, None) is not None:
            show()

    show()
    try:
        outcomes = engine(job, missing, workers, finished)
    except InvalidOptionError:
        raise
    except BertQAError as error:
        done = len(plan.partitions) - len(waiting)
        total = counted(len(plan.partitions), "partition")
        error.args = (f"{error} {done} of {total} are done: run the same again to resume.",)
        raise
    for outcome in outcomes:
        finished(outcome.number)
    return outcomes


def _check_complete(job: Job) -> None:
    present = job.output.names()
    lost = [part for each in job.plan.partitions if (part := job.plan.part(each)) not in present]
    if lost:
        raise DataError(
            f"{job.output.address} lacks {lost[0]}"
            f"{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}: something removed it, or "
            "the workers write to another place than this machine reads. A path has to be on a "
            "disk that all machines share."
        )
