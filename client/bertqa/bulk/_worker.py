"""What a worker does with a partition: read it, answer it, write its part whole."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertqa import errors
from bertqa.bulk._models import client_of
from bertqa.bulk._plan import Job, Partition, records_of
from bertqa.client._batch._answering import Answering
from bertqa.client._batch._formats import writing
from bertqa.errors import BertQAError, VersionNotFoundError

# Lines of stack traces of Java and of Python, and their headings.
_TRACE = re.compile(
    r"\s+at |\s+\.\.\. \d+ more|\s*Traceback \(most recent|\s+File \"| {4}|\w+ stack ?trace:$"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a partition.

    Attributes:
        number: The partition's number.
        answered: Rows with an answer.
        failed: Rows with an error.
        fault: The error that kept its part from being written, as JSON; empty for none.
    """

    number: int
    answered: int = 0
    failed: int = 0
    fault: str = ""


def work(job: Job, partition: Partition) -> Outcome:
    """Answer a partition, and write its part: whole, and the same however often it is done.

    Args:
        job: The job.
        partition: The partition.

    Returns:
        How many rows were answered.

    Raises:
        BertQAError: The server, the model, a file or a store is at fault. Nothing is written.
    """
    plan = job.plan
    client = client_of(job.model, job.identity)
    answering = Answering(client, plan.columns, job.top_k, job.options)
    rows = (plan.columns.row(record) for record in records_of(plan, partition))
    answered = failed = 0
    content = io.BytesIO()
    with writing(content, plan.written, plan.kept, plan.columns.own, plan.types) as writer:
        for row, done in answering.done(rows):
            for answer in done.answers:
                if answer.model_version != job.identity.version:
                    raise VersionNotFoundError(
                        f"Version {answer.model_version} has answered in place of version "
                        f"{job.identity.version}, with which the run began."
                    )
            for line in answering.lines(row, done):
                writer.write(line)
            failed += bool(done.error)
            answered += not done.error
    job.output.write(plan.part(partition), content.getvalue())
    return Outcome(partition.number, answered, failed)


def attempt(job: Job, number: int) -> Outcome:
    """Do as `work`, and return an error as a part of the outcome: engines try others again.

    Args:
        job: The job.
        number: The number of the partition.

    Returns:
        What was done, or the error.
    """
    try:
        return work(job, job.plan.partitions[number])
    except BertQAError as error:
        return Outcome(number, fault=packed(error))


def packed(error: BertQAError) -> str:
    """Return an error as JSON, which the way back from a worker does not change.

    Args:
        error: The error.
    """
    return json.dumps([type(error).__name__, str(error), error.detail])


def gist_of(error: Exception) -> str:
    """Return an account of a failure by an engine, without the stack traces that it adds.

    Args:
        error: The engine's error.

    Returns:
        Its lines, each once; where all are of traces, the error's name.
    """
    lines = [line for line in str(error).splitlines() if line.strip() and not _TRACE.match(line)]
    return "\n".join(dict.fromkeys(lines)) or type(error).__name__


def raise_fault(fault: str) -> None:
    """Raise the error of an outcome, if it has one.

    Args:
        fault: What `packed` returned, or nothing.

    Raises:
        BertQAError: That error.
    """
    if fault:
        kind, message, detail = json.loads(fault)
        raise getattr(errors, kind, BertQAError)(message, detail=detail)


def as_outcome(row: Mapping[str, Any]) -> Outcome:
    """Return an outcome from a row of an engine's table.

    Args:
        row: The fields of the outcome.
    """
    return Outcome(int(row["number"]), int(row["answered"]), int(row["failed"]), str(row["fault"]))
