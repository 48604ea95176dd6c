"""Answering a file of questions, in such a way that an interruption loses nothing."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import IO, Unpack

from bertqa import _checks
from bertqa._data_files import (
    STANDARD_STREAM,
    DataAddress,
    Format,
    Kind,
    Source,
    binary,
    is_stream,
    opened,
    standard,
)
from bertqa._progress import OnProgress, Progress, ignore
from bertqa._reason import reason_of
from bertqa.client._batch._answering import Answering, Contents, look_at
from bertqa.client._batch._columns import Columns, Row
from bertqa.client._batch._formats import Writer, check_name, writing, written_format
from bertqa.client._batch._journal import Journal, alone, journal_line
from bertqa.client._kinds import check_client
from bertqa.client._options import AskOptions, check_options
from bertqa.client._sync.client import QAClient
from bertqa.errors import BertQAError, DataError, InvalidOptionError

_COUNT = _checks.whole(1)


@dataclass(frozen=True, slots=True)
class BatchReport:
    """How many rows of the input are done.

    Attributes:
        answered: Rows with an answer.
        resumed: Rows of both kinds that an earlier run left behind.
        failed: Rows with an error.
    """

    answered: int
    resumed: int
    failed: int


def answer_file(
    client: QAClient,
    source: str | Path,
    target: str | Path,
    *,
    top_k: int = 1,
    question_column: str = "question",
    context_column: str = "context",
    id_column: str | None = None,
    on_progress: OnProgress = ignore,
    **options: Unpack[AskOptions],
) -> BatchReport:
    """Answer each row of a file of questions and contexts.

    The file is CSV (with commas, semicolons, tabs or bars), JSON Lines, a JSON list or SQuAD's own
    JSON, each also with gzip, or Parquet; a directory of data or a data set of the Hugging Face hub
    is read as `bertqa.evaluation.read_squad` reads it. All is read before the first question: a
    damaged file is refused with the line.

    The output has the input's columns except the context, then the answer's, then `error`, which
    says what is wrong with a bad row; such a row does not end the run. Rows that are done are kept
    in `<target>.partial`, where the next run with the same arguments resumes, until `target`
    appears whole.

    Args:
        client: Answers the questions.
        source: The input: `.csv`, `.tsv`, `.json`, `.jsonl`, `.ndjson`, one of these and `.gz`,
            `.parquet`, a directory or a data set of the hub, or `-` for standard input.
        target: The output. Its name decides the format as that of the input does; another name has
            the format of the input. It is never overwritten. `-` is standard output, where rows
            appear as they are answered, and nothing is kept to resume.
        top_k: How many answers to return to a question at most; with more than one each answer has
            a row of its own, and its place in a column `rank`.
        question_column: The name of the column of the question, in upper or lower case.
        context_column: The name of the column of the context.
        id_column: The name of a column that has to be there and filled, or None.
        on_progress: Called after each row.
        **options: See `AskOptions`.

    Returns:
        How many rows were answered.

    Raises:
        InvalidOptionError: An option is not valid.
        DataError: A file cannot be read or written, the input is damaged, or `target` exists. Where
            it appeared during the run, the answers stay in `<target>.partial`.
        BertQAError: What `QAClient.answer_many` raises where the server is at fault; the message
            says how many rows are done.
    """
    check_client("client", client)
    path = standard(_checks.path("source", source), "stdin", 0)
    target = standard(_checks.path("target", target), "stdout", 1)
    top_k = _COUNT("top_k", top_k)
    question_column = _checks.text("question_column", question_column)
    context_column = _checks.text("context_column", context_column)
    id_column = _checks.optional(_checks.text)("id_column", id_column)
    check_options(options)
    columns = Columns(question_column, context_column, id_column, ranked=top_k > 1)
    streams = is_stream(target)
    if not streams:
        _check_target(target)
    with opened(DataAddress.of(source, path), columns.wanted) as (table, own_format):
        if table.header is not None:
            columns.check(table.header, table.name)
        written = written_format(target, own_format)
        columns = replace(columns, holds_nul=written.kind is not Kind.CSV)
        contents = look_at(table, columns, typed=written.kind is Kind.PARQUET)
        run = _Run(client, table, columns, top_k, options, contents.rows, _name_of(path))
        if streams:
            return _to_stream(run, target, written, contents, on_progress)
        with alone(target):
            _check_target(target)  # Another run may have finished it meanwhile.
            return _to_file(run, target, written, contents, on_progress)


class _Run(Answering):
    """One input with the options of its questions."""

    def __init__(
        self,
        client: QAClient,
        table: Source,
        columns: Columns,
        top_k: int,
        options: AskOptions,
        total: int,
        name: str,
    ) -> None:
        super().__init__(client, columns, top_k, options)
        self.name = name
        self.total = total
        self.stage = f"Answering {name}"
        self._table = table
        self._digest = _digest(columns, top_k, client._identity_of(options))

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the input; their digests stand for the options too."""
        for record in self._table.records():
            row = self.columns.row(record)
            yield replace(row, digest=f"{row.digest}-{self._digest}")


def _to_stream(
    run: _Run, target: Path, written: Format, contents: Contents, on_progress: OnProgress
) -> BatchReport:
    answered = failed = 0
    on_progress(Progress(run.stage, 0, run.total, "questions"))
    with (
        _stream(target) as file,
        writing(file, written, contents.kept, run.columns.own, contents.types) as writer,
        _naming_progress(lambda: f"{answered + failed} of {run.total} rows are written."),
    ):
        for row, done in run.done(run.rows()):
            for line in run.lines(row, done):
                writer.write(line)
            file.flush()
            failed += bool(done.error)
            answered += not done.error
            on_progress(Progress(run.stage, answered + failed, run.total, "questions"))
    return BatchReport(answered, 0, failed)


def _to_file(
    run: _Run, target: Path, written: Format, contents: Contents, on_progress: OnProgress
) -> BatchReport:
    journal = Journal(target.with_name(f"{target.name}.partial"), run.name)
    resumed = journal.repair()
    if resumed > run.total:
        raise journal.foreign()
    rows = run.rows()
    failed = 0
    for row, done in zip(islice(rows, resumed), journal.lines(), strict=True):
        journal.check(row, done)
        failed += bool(done.error)
    finished = resumed

    def kept() -> str:
        return journal.kept(finished, run.total)

    try:
        with (
            _naming_progress(kept),
            _written(journal.path, kept),
            journal.appending() as file,
        ):
            on_progress(Progress(run.stage, finished, run.total, "questions"))
            for _, done in run.done(rows):
                file.write(journal_line(done))
                file.flush()
                finished += 1
                failed += bool(done.error)
                on_progress(Progress(run.stage, finished, run.total, "questions"))
    except BaseException:
        if not finished:
            with suppress(OSError):
                journal.path.unlink()
        raise
    _finish(run, journal, target, written, contents)
    return BatchReport(finished - failed, resumed, failed)


@contextmanager
def _naming_progress(sentence: Callable[[], str]) -> Iterator[None]:
    """Add to the message of what ends a run how far it came."""
    try:
        yield
    except (DataError, InvalidOptionError):
        raise
    except BertQAError as error:
        error.args = (f"{error} {sentence()}",)
        raise


@contextmanager
def _written(path: Path, sentence: Callable[[], str]) -> Iterator[None]:
    """Report what the system says against writing a file, and how far the run came."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be written: {reason_of(error)}. {sentence()}") from error


def _finish(run: _Run, journal: Journal, target: Path, written: Format, contents: Contents) -> None:
    """Turn the journal into the output, whole or not at all."""
    staged = target.with_name(f"{target.name}.staged")
    try:
        with _written(target, lambda: journal.kept(run.total, run.total)):
            with staged.open("wb") as file:
                kept, own = contents.kept, run.columns.own
                with writing(file, written, kept, own, contents.types) as writer:
                    _write_all(run, journal, writer)
                file.flush()
                os.fsync(file.fileno())
            _publish(staged, target, journal.path)
    finally:
        with suppress(OSError):  # It may be a directory that another program made.
            staged.unlink()
    journal.path.unlink()


def _write_all(run: _Run, journal: Journal, writer: Writer) -> None:
    for row, done in zip_longest(run.rows(), journal.lines()):
        journal.check(row, done)
        assert row is not None
        assert done is not None
        for line in run.lines(row, done):
            writer.write(line)


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


def _check_target(target: Path) -> None:
    check_name(target)
    if os.path.lexists(target):
        raise DataError(f"{target} exists already: remove it, or choose another name.")


@contextmanager
def _stream(target: Path) -> Iterator[IO[bytes]]:
    """Open standard output, which stays open, or a pipe; a reader that goes away ends the run."""
    name = _name_of(target, "Standard output")
    try:
        if str(target) == STANDARD_STREAM:
            below = binary(sys.stdout, name)
            sys.stdout.flush()
            yield below
            below.flush()
        else:
            with target.open("wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError(f"{name} cannot be written: {reason_of(error)}.") from error


def _name_of(path: Path, stream: str = "standard input") -> str:
    return stream if str(path) == STANDARD_STREAM else str(path)


def _digest(*decisive: object) -> str:
    """Return a text that differs where the same row would have other answers or columns."""
    text = repr(decisive).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=4).hexdigest()
