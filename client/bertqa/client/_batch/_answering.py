"""The rows of an input: a first look at all of them, and their answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bertqa._data_files import Source
from bertqa.client._batch._columns import ANSWER_COLUMNS, ERROR, RANK, Columns, Row
from bertqa.client._batch._formats import types_of
from bertqa.client._batch._journal import Done
from bertqa.client._options import AskOptions
from bertqa.client._sync.client import QAClient
from bertqa.errors import BertQAError, DataError


@dataclass(frozen=True, slots=True)
class Contents:
    """What the first look at a whole input has found.

    Attributes:
        rows: How many rows it has.
        kept: The names of the columns that the output repeats.
        types: Their types, for Parquet; see `types_of`.
    """

    rows: int
    kept: list[str]
    types: Any


class Answering:
    """Answers rows with the same options.

    Args:
        client: Answers the questions.
        columns: The names of the columns.
        top_k: How many answers to return to a question at most.
        options: See `AskOptions`.
    """

    def __init__(self, client: QAClient, columns: Columns, top_k: int, options: AskOptions) -> None:
        self.columns = columns
        self._client = client
        self._top_k = top_k
        self._options = options

    def done(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Done]]:
        """Answer rows.

        Args:
            rows: The rows.

        Yields:
            Each row, in order, with what became of it.

        Raises:
            BertQAError: What `QAClient.answers_many` raises where the server is at fault.
        """
        waiting: deque[Row] = deque()

        def pairs() -> Iterator[tuple[str, str]]:
            for row in rows:
                # The context is the client's from here on.
                waiting.append(replace(row, question=None, context=None))
                if row.problem is None:
                    yield row.question, row.context

        def bad_rows() -> Iterator[tuple[Row, Done]]:
            while waiting and (problem := waiting[0].problem) is not None:
                row = waiting.popleft()
                yield row, Done(row.digest, (), problem)

        for outcome in self._client.answers_many(
            pairs(), self._top_k, return_errors=True, **self._options
        ):
            yield from bad_rows()
            row = waiting.popleft()
            if isinstance(outcome, BertQAError):
                yield row, Done(row.digest, (), str(outcome))
            else:
                yield row, Done(row.digest, tuple(outcome), "")
        yield from bad_rows()

    def lines(self, row: Row, done: Done) -> Iterator[dict[str, Any]]:
        """Yield the output's rows of one of the input's.

        Args:
            row: The row.
            done: What became of it.
        """
        for rank, answer in enumerate(done.answers or (None,), start=1):
            values: dict[str, Any] = dict.fromkeys(self.columns.own)
            if answer is not None:
                found = (answer.text, answer.start, answer.end, answer.score, answer.model_version)
                values |= dict(zip(ANSWER_COLUMNS, found, strict=True))
                if self.columns.ranked:
                    values[RANK] = rank
            yield {**row.kept, **values, ERROR: done.error}


def look_at(table: Source, columns: Columns, *, typed: bool, types: Any = None) -> Contents:
    """Read a whole input: what is damaged is found before anything is asked.

    Args:
        table: The input.
        columns: The names of the columns.
        typed: Whether the output has types.
        types: Those of inputs before this one, which are to be of one output; None for none.

    Returns:
        What it holds.

    Raises:
        DataError: It is damaged, or lacks a column.
    """
    types = types_of(table) if types is None else types
    names: dict[str, None] = dict.fromkeys(table.header or ())
    kept = dict.fromkeys(columns.kept(names))
    rows, seen, first = 0, set[str](), ""
    for record in table.records():
        rows += 1
        if table.header is None:
            names |= dict.fromkeys(record.values)
            seen |= {
                each for each in columns.wanted if each not in columns.missing([*record.values])
            }
            row = columns.row(record)
            first = first or row.problem or ""
            kept |= dict.fromkeys(row.kept)
            if typed:
                types.observe(row.kept)
    if table.header is None and rows and not names:
        raise DataError(f"{table.name} has no JSON object with fields in any line. {first}")
    if table.header is None and names and (absent := [n for n in columns.wanted if n not in seen]):
        raise DataError(
            f"{table.name} has no {' and no '.join(absent)} in any line; its fields are "
            f"{', '.join(names)}. {columns.naming(absent)}"
        )
    return Contents(rows, list(kept), types)
