"""Spark: a task for each partition, by `mapInPandas`, which is attempted again where it is lost."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from bertqa.artifact import usable_cores
from bertqa.bulk._models import LocalModel
from bertqa.bulk._plan import Job, Partition
from bertqa.bulk._run import OnFinished
from bertqa.bulk._worker import Outcome, as_outcome, attempt, gist_of, raise_fault
from bertqa.errors import BertQAError

_SCHEMA = "number long, answered long, failed long, fault string"
# How often a task is attempted: on one machine, Spark's own default is once.
_ATTEMPTS = 4
_NO_MASTER = "local[*]"
_LOOK_SECONDS = 1.0
_FAULT = re.compile(r'bertqa fault: (\["\w+", .*\])')


def run_on_workers(
    job: Job, partitions: Sequence[Partition], workers: int | None, on_finished: OnFinished
) -> list[Outcome]:
    """Have partitions answered by tasks of Spark; see `Engine`.

    Args:
        job: The job.
        partitions: Those that are missing.
        workers: How many tasks at once, where no master is configured; None is one for each core.
        on_finished: Called with the number of each partition that is done.

    Returns:
        The outcomes.

    Raises:
        BertQAError: A partition cannot be answered, or a task fails again and again.
    """
    with _session(workers) as (spark, threads):
        if isinstance(job.model, LocalModel):
            job = replace(job, model=replace(job.model, threads=job.model.threads or threads))

        def answer(batches: Iterator[Any]) -> Iterator[Any]:
            for batch in batches:
                for number in batch["number"]:
                    outcome = attempt(job, int(number))
                    if outcome.fault:
                        raise RuntimeError(f"bertqa fault: {outcome.fault}")
                    yield pd.DataFrame([asdict(outcome)])

        numbers = [(each.number,) for each in partitions]
        tasks = spark.createDataFrame(numbers, "number long").repartitionByRange(
            len(partitions), "number"
        )
        with ThreadPoolExecutor(1, "bertqa-spark") as executor:
            collected = executor.submit(tasks.mapInPandas(answer, _SCHEMA).collect)
            try:
                _follow(job, partitions, collected, on_finished)
                return [as_outcome(row.asDict()) for row in collected.result()]
            except (PySparkException, Py4JError) as error:
                if found := _FAULT.search(str(error)):
                    raise_fault(found[1])
                raise BertQAError(
                    f"A task of Spark failed {_ATTEMPTS} times.", detail=gist_of(error)
                ) from error
            except BaseException:
                spark.interruptAll()
                raise


def _follow(
    job: Job, partitions: Sequence[Partition], collected: Future[Any], on_finished: OnFinished
) -> None:
    """Report each part that is there until the tasks end, as Spark reports only at the end."""
    waiting = {job.plan.part(each): each.number for each in partitions}
    while True:
        try:
            collected.exception(_LOOK_SECONDS)
            return
        except TimeoutError:
            for part in waiting.keys() & job.output.names():
                on_finished(waiting.pop(part))


@contextmanager
def _session(workers: int | None) -> Iterator[tuple[SparkSession, int]]:
    """Have a session for the block, and say how many threads a task may compute with."""
    # It warns of each pandas above 2; what is used here works with it.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support", FutureWarning)
    active = SparkSession.getActiveSession()
    if active is not None:
        yield active, _threads(active)
        return
    # Workers have the packages of this interpreter, not those of whichever is first on PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("bert-qa")
    cores, is_own = usable_cores(), not _has_master()
    tasks = workers or cores
    if is_own:
        builder = (
            builder.master(f"local[{tasks},{_ATTEMPTS}]")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
        )
    try:
        spark = builder.getOrCreate()
    except (PySparkException, Py4JError) as error:
        raise BertQAError(
            "Spark cannot be started: it needs a Java runtime (17 or newer; JAVA_HOME), and its "
            "master has to answer.",
            detail=gist_of(error),
        ) from error
    try:
        if is_own:
            spark.sparkContext.setLogLevel("OFF")
        yield spark, max(1, cores // tasks) if is_own else _threads(spark)
    finally:
        spark.stop()


def _has_master() -> bool:
    """Return whether a master is configured: by spark-submit, spark-defaults.conf or a variable."""
    if os.environ.get("SPARK_REMOTE") or os.environ.get("MASTER"):
        return True
    from pyspark import SparkConf, SparkContext

    try:
        SparkContext._ensure_initialized()  # Java reads spark-defaults.conf.
    except PySparkException as error:
        raise BertQAError(
            "Spark cannot be started: it needs a Java runtime (17 or newer; JAVA_HOME).",
            detail=gist_of(error),
        ) from error
    # Where nothing says otherwise, Java itself has filled in the one of `spark-submit`.
    return SparkConf().get("spark.master", _NO_MASTER) != _NO_MASTER


def _threads(spark: SparkSession) -> int:
    return int(spark.conf.get("spark.task.cpus", "1") or 1)
