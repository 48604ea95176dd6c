"""Answering a file of questions, in such a way that an interruption loses nothing."""

from __future__ import annotations

import csv
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Unpack

from bertqa._progress import OnProgress, Progress, ignore
from bertqa._reason import reason_of
from bertqa.client._options import AskOptions
from bertqa.client._sync.client import QAClient
from bertqa.errors import DataError
from bertqa.qa import Answer

QUESTION = "question"
CONTEXT = "context"
ERROR = "error"
CSV = ".csv"
JSON_LINES = (".jsonl", ".ndjson")

_ANSWER_COLUMNS = ("answer", "start", "end", "score", "model_version")
_OWN_COLUMNS = (*_ANSWER_COLUMNS, ERROR)
# A context is one field of a CSV file, and may be a book.
_FIELD_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class BatchReport:
    """How many rows the output has.

    Attributes:
        answered: Rows with an answer.
        resumed: Rows of both kinds that an earlier run left behind.
        failed: Rows with an error.
    """

    answered: int
    resumed: int
    failed: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the input; `problem` says why it cannot be answered at all."""

    values: Mapping[str, Any]
    problem: str | None = None

    @property
    def kept(self) -> dict[str, Any]:
        """Return what the output repeats: all but the context, which may be long."""
        return {
            name: value
            for name, value in self.values.items()
            if name != CONTEXT and name not in _OWN_COLUMNS
        }


def answer_file(
    client: QAClient,
    source: Path,
    target: Path,
    *,
    on_progress: OnProgress = ignore,
    **options: Unpack[AskOptions],
) -> BatchReport:
    """Answer each row of a CSV or JSON Lines file that has a `question` and a `context`.

    The output has the input's columns except `context`, then the answer's, then `error`, which says
    what is wrong with a bad row; such a row does not end the run. Rows that are done are kept in
    `<target>.partial`, where the next run with the same arguments resumes, until `target` appears
    whole.

    Args:
        client: Answers the questions.
        source: The input, `.csv`, `.jsonl` or `.ndjson`.
        target: The output, with one of the same suffixes; it is never overwritten.
        on_progress: Called after each row.
        **options: See `AskOptions`.

    Returns:
        How many rows were answered.

    Raises:
        DataError: A file cannot be read or written, or `target` exists. Where it appeared during
            the run, the answers stay in `<target>.partial`.
        BertQAError: What `QAClient.answer_many` raises where the server is at fault.
    """
    for path in (source, target):
        if path.suffix.lower() not in (CSV, *JSON_LINES):
            raise DataError(f"{path} has to end in {CSV} or {' or '.join(JSON_LINES)}.")
    if os.path.lexists(target):
        raise DataError(f"{target} exists already: remove it, or choose another name.")
    total = sum(1 for _ in _read(source))
    journal = target.with_name(f"{target.name}.partial")
    done = _resume(journal, source, total)
    resumed, failed = len(done), sum(bool(row[ERROR]) for row in done)
    answered = resumed
    stage = f"Answering {source}"
    with _writing(journal) as file:
        on_progress(Progress(stage, answered, total, "questions"))
        rows = islice(_read(source), resumed, None)
        for line in _answers(client, rows, options):
            file.write(json.dumps(line, ensure_ascii=True) + "\n")
            file.flush()
            answered += 1
            failed += bool(line[ERROR])
            on_progress(Progress(stage, answered, total, "questions"))
    _finish(journal, target)
    return BatchReport(answered - failed, resumed, failed)


def _answers(
    client: QAClient, rows: Iterable[_Row], options: AskOptions
) -> Iterator[dict[str, Any]]:
    """Return the output's rows, in order."""
    waiting: deque[_Row] = deque()

    def pairs() -> Iterator[tuple[str, str]]:
        for row in rows:
            waiting.append(row)
            if row.problem is None:
                yield row.values[QUESTION], row.values[CONTEXT]

    def bad_rows() -> Iterator[dict[str, Any]]:
        while waiting and waiting[0].problem is not None:
            row = waiting.popleft()
            yield _line(row, None, row.problem)

    for outcome in client.answer_many(pairs(), return_errors=True, **options):
        yield from bad_rows()
        row = waiting.popleft()
        if isinstance(outcome, Answer):
            yield _line(row, outcome, "")
        else:
            yield _line(row, None, str(outcome))
    yield from bad_rows()


def _line(row: _Row, answer: Answer | None, error: str | None) -> dict[str, Any]:
    found = dict.fromkeys(_ANSWER_COLUMNS)
    if answer is not None:
        values = asdict(answer)
        found = {"answer": values.pop("text"), **values}
    return {**row.kept, **found, ERROR: error or ""}


def _read(path: Path) -> Iterator[_Row]:
    """Yield rows; bytes that are not UTF-8 become lone surrogates: only their row is bad."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            yield from _read_csv(file, path) if path.suffix.lower() == CSV else _read_lines(file)
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error


def _read_csv(file: IO[str], path: Path) -> Iterator[_Row]:
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.DictReader(file)
    missing = [name for name in (QUESTION, CONTEXT) if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"{path} has no column {' and no column '.join(missing)}; its first line names "
            f"{', '.join(reader.fieldnames or ()) or 'nothing'}."
        )
    clashing = [name for name in reader.fieldnames or () if name in _OWN_COLUMNS]
    if clashing:
        raise DataError(f"{path} has a column {clashing[0]!r}, as the output has: rename it.")
    for values in reader:
        problem = "The row has more fields than the first line names." if None in values else None
        values.pop(None, None)
        yield _Row(values, problem)


def _read_lines(file: IO[str]) -> Iterator[_Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            yield _Row({}, f"Line {number} is not valid JSON: {error}.")
            continue
        if not isinstance(values, dict):
            yield _Row({}, f"Line {number} is not a JSON object.")
            continue
        missing = [name for name in (QUESTION, CONTEXT) if name not in values]
        clashing = [name for name in values if name in _OWN_COLUMNS]
        problem = None
        if missing:
            problem = f"Line {number} has no {' and no '.join(missing)}."
        elif clashing:
            problem = f"Line {number} has a field {clashing[0]!r}, as the output has: rename it."
        yield _Row(values, problem)


def _resume(journal: Path, source: Path, total: int) -> list[dict[str, Any]]:
    """Return the rows that are done, and cut off one that was being written."""
    try:
        content = journal.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{journal} cannot be read: {reason_of(error)}.") from error
    whole = content[: content.rfind(b"\n") + 1]
    try:
        done = [json.loads(line) for line in whole.splitlines()]
        if len(done) > total:
            raise ValueError(f"it has {len(done)} rows, the input {total}")
        for row, line in zip(_read(source), done, strict=False):
            if json.loads(json.dumps(row.kept)) != {name: line[name] for name in row.kept}:
                raise ValueError("it belongs to another input")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{journal} is not what an interrupted run on {source} left behind ({error}): "
            "remove it to start again."
        ) from error
    if len(whole) < len(content):
        os.truncate(journal, len(whole))
    return done


@contextmanager
def _writing(path: Path) -> Iterator[IO[str]]:
    try:
        with path.open("a", encoding="utf-8") as file:
            yield file
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(f"{path} cannot be written: {reason_of(error)}.") from error


def _finish(journal: Path, target: Path) -> None:
    """Turn the journal into the output, whole or not at all."""
    if target.suffix.lower() != CSV:
        _publish(journal, target, journal)
        return
    staged = target.with_name(f"{target.name}.staged")
    try:
        _write_csv(journal, staged)
        _publish(staged, target, journal)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {reason_of(error)}.") from error
    finally:
        with suppress(OSError):  # It may be a directory that another program made.
            staged.unlink()
    journal.unlink()


def _write_csv(journal: Path, staged: Path) -> None:
    with journal.open(encoding="utf-8") as file:
        names = dict.fromkeys(name for line in file for name in json.loads(line))
    ordered = [name for name in names if name not in _OWN_COLUMNS]
    with (
        journal.open(encoding="utf-8") as file,
        staged.open("w", encoding="utf-8", errors="surrogateescape", newline="") as output,
    ):
        writer = csv.DictWriter(output, [*ordered, *_OWN_COLUMNS])
        writer.writeheader()
        writer.writerows(map(json.loads, file))
        output.flush()
        os.fsync(output.fileno())


def _publish(finished: Path, target: Path, journal: Path) -> None:
    """Move a finished file to the target, unless something has that name by now."""
    try:
        try:
            os.link(finished, target)
        except FileExistsError:
            raise
        except OSError:
            # The file system has no hard links: take the name, then replace what is ours.
            target.touch(exist_ok=False)
            finished.replace(target)
        else:
            finished.unlink()
    except FileExistsError as error:
        raise DataError(
            f"{target} appeared during the run, and is left as it is. The answers are in "
            f"{journal}: move {target.name} away, then run the same command again."
        ) from error
    except OSError as error:
        raise DataError(f"{target} cannot be written: {reason_of(error)}.") from error
