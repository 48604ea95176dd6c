"""What is done of a file, a line a row, so that an interruption loses nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import Timeout

from bertqa._reason import reason_of
from bertqa.artifact._lock import file_lock
from bertqa.client._batch._columns import Row
from bertqa.errors import DataError
from bertqa.qa import Answer


@dataclass(frozen=True, slots=True)
class Done:
    """A row that is done.

    Attributes:
        digest: Stands for the row and, after a hyphen, for the options.
        answers: Its answers, best first; empty where it has an error.
        error: What is wrong with it, or nothing.
    """

    digest: str
    answers: tuple[Answer, ...]
    error: str


class Journal:
    """The file next to the output that keeps what is done.

    Args:
        path: Its path.
        source: The name of the input, for messages.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self._source = source

    def repair(self) -> int:
        """Cut off a line that was being written, and return how many there are.

        Raises:
            DataError: The file cannot be read or written.
        """
        count, end = 0, 0
        try:
            with self.path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        count, end = count + 1, end + len(line)
            if end < self.path.stat().st_size:
                os.truncate(self.path, end)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {reason_of(error)}.") from error
        return count

    def lines(self) -> Iterator[Done]:
        """Yield what is done, in order.

        Raises:
            DataError: A line is not of a journal, or the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                for line in file:
                    values = json.loads(line)
                    answers = tuple(Answer(*each) for each in values["answers"])
                    yield Done(values["row"], answers, values["error"])
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {reason_of(error)}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise self.foreign() from error

    @contextmanager
    def appending(self) -> Iterator[IO[bytes]]:
        """Open the file at its end.

        Yields:
            The file.

        Raises:
            OSError: It cannot be written.
        """
        with self.path.open("ab") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def kept(self, done: int, total: int) -> str:
        """Return a sentence on how to resume.

        Args:
            done: How many rows are done.
            total: How many there are.
        """
        if not done:
            return f"0 of {total} rows are done: run the same command again to begin anew."
        return (
            f"{done} of {total} rows are done and kept in {self.path}: run the same command again "
            "to resume."
        )

    def check(self, row: Row | None, done: Done | None) -> None:
        """Check that what is done is a row of this run.

        Args:
            row: The row, None where the input has ended.
            done: What is done, None where that has ended.

        Raises:
            DataError: It belongs to another input or to other options.
        """
        if row is None or done is None:
            raise self.foreign()
        (values, options), other = row.digest.split("-"), done.digest
        if other.startswith(f"{values}-") and not other.endswith(f"-{options}"):
            raise DataError(
                f"{self.path} is what an interrupted run on {self._source} with other options left "
                "behind: another model, version, tokenizer, decoding option, column or number of "
                "answers. Pass the same options to resume, or remove it to start anew."
            )
        if other != row.digest:
            raise self.foreign()

    def foreign(self) -> DataError:
        """Return the error that this is the journal of another input."""
        return DataError(
            f"{self.path} is not what an interrupted run on {self._source} left behind: it belongs "
            "to another input, or the input has changed. Remove it to start anew."
        )


def journal_line(done: Done) -> bytes:
    """Return what is done as a line of a journal.

    Args:
        done: The row.
    """
    answers = [
        (each.text, each.start, each.end, each.score, each.model_version) for each in done.answers
    ]
    values = {"row": done.digest, "answers": answers, "error": done.error}
    return json.dumps(values).encode() + b"\n"


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other runs from the same output; the system drops the lock of a run that dies.

    Args:
        target: The output.

    Raises:
        DataError: Another run has it, or it cannot be locked.
    """
    path = target.with_name(f"{target.name}.lock")
    lock = file_lock(path)
    try:
        if not target.parent.is_dir():  # The lock would make it.
            raise DataError(f"{target} cannot be written: there is no directory {target.parent}.")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"Another run is writing {target}: wait for its end, or choose another name."
        ) from error
    except OSError as error:
        raise DataError(f"{target} cannot be written: {reason_of(error)}.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()
