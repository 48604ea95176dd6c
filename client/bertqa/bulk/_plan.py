"""What a run is to do: a list of partitions that the same inputs always have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bertqa._data_files import Format, Kind, ParquetSource, Record, Source, format_of, source_of
from bertqa._progress import OnProgress, Progress
from bertqa.bulk._models import Identity, Model
from bertqa.bulk._places import InputFile, OutputDirectory, on_this_machine
from bertqa.client import AskOptions
from bertqa.client._batch._answering import Contents, look_at
from bertqa.client._batch._columns import Columns
from bertqa.client._batch._formats import written_format
from bertqa.errors import DataError

PART = "part-"
_SUFFIXES = {Kind.CSV: ".csv", Kind.JSON_LINES: ".jsonl", Kind.PARQUET: ".parquet"}
_LEAST_ROWS, _MOST_ROWS = 256, 10_000
_PARTITIONS = 64


@dataclass(frozen=True, slots=True)
class Partition:
    """Rows of one file, whose answers are one file of the output.

    Attributes:
        number: Its place among all, from 0 on.
        file: The number of the input file.
        first: The first row, from 0 on.
        rows: How many rows.
    """

    number: int
    file: int
    first: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the inputs hold, and how it is divided.

    Attributes:
        files: The input files.
        kind: The format that all of them have.
        written: The format of the output's files.
        columns: The names of the columns.
        kept: The columns that the output repeats.
        types: Their types, for Parquet; see `types_of`.
        partitions: The partitions.
    """

    files: tuple[InputFile, ...]
    kind: Kind
    written: Format
    columns: Columns
    kept: tuple[str, ...]
    types: Any
    partitions: tuple[Partition, ...]

    @property
    def rows(self) -> int:
        """How many rows all inputs have."""
        return sum(each.rows for each in self.partitions)

    def part(self, partition: Partition) -> str:
        """Return the name of the output's file for a partition."""
        packed = ".gz" if self.written.compressed else ""
        return f"{PART}{partition.number:05d}{_SUFFIXES[self.written.kind]}{packed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker needs, on whatever machine it is.

    Attributes:
        model: Which model answers, with its version.
        identity: Which one it has to be.
        plan: What there is to do.
        output: Where the answers go.
        top_k: How many answers to return to a question at most.
        options: See `AskOptions`.
    """

    model: Model
    identity: Identity
    plan: Plan
    output: OutputDirectory
    top_k: int
    options: AskOptions


def planned(
    files: Sequence[InputFile],
    output: OutputDirectory,
    columns: Columns,
    partition_rows: int | None,
    on_progress: OnProgress,
) -> Plan:
    """Look at the inputs, and divide them.

    Of Parquet the ends are read, of other formats the whole, so that damage is found before
    anything is asked.

    Args:
        files: The input files.
        output: The output, whose name decides the format as that of a file does.
        columns: The names of the columns.
        partition_rows: How many rows a partition has at most; None follows from their number.
        on_progress: Called after each file.

    Returns:
        The partitions, and how they are read and written.

    Raises:
        DataError: A file is damaged, lacks a column, or does not go with the others.
    """
    kept: dict[str, None] = {}
    counts: list[int] = []
    first: Format | None = None
    written, types = Format(Kind.CSV), None
    for number, file in enumerate(files):
        on_progress(Progress("Looking at the inputs", number, len(files), "files"))
        table, own = _opened(file, columns)
        if first is None:
            first, written = own, written_format(Path(output.address), own)
            columns = replace(columns, holds_nul=written.kind is not Kind.CSV)
        elif own.kind is not first.kind:
            raise DataError(
                f"{file.address} is {own.kind} and {files[0].address} is {first.kind}: answer "
                "files of one format at once."
            )
        if table.header is not None:
            columns.check(table.header, table.name)
        contents = _contents(table, columns, typed=written.kind is Kind.PARQUET, types=types)
        if (
            isinstance(table, ParquetSource)
            and types is not None
            and not types.equals(table.schema)
        ):
            raise DataError(
                f"{file.address} has other columns, or columns of other types, than "
                f"{files[0].address}: answer files of one schema at once."
            )
        types = contents.types
        kept |= dict.fromkeys(contents.kept)
        counts.append(contents.rows)
    on_progress(Progress("Looking at the inputs", len(files), len(files), "files"))
    assert first is not None
    return Plan(
        files=tuple(files),
        kind=first.kind,
        written=written,
        columns=columns,
        kept=tuple(kept),
        types=types,
        partitions=tuple(_divided(counts, partition_rows or _rows_for(sum(counts)))),
    )


def _rows_for(total: int) -> int:
    """Return how many rows a partition has: it follows from the inputs alone, to resume."""
    return min(_MOST_ROWS, max(_LEAST_ROWS, math.ceil(total / _PARTITIONS)))


def _divided(counts: Iterable[int], most: int) -> Iterator[Partition]:
    number = 0
    for file, count in enumerate(counts):
        for first in range(0, count, most):
            yield Partition(number, file, first, min(most, count - first))
            number += 1


def _contents(table: Source, columns: Columns, *, typed: bool, types: Any) -> Contents:
    if isinstance(table, ParquetSource):
        return Contents(sum(table.group_rows), columns.kept(table.header), table.schema)
    return look_at(table, columns, typed=typed, types=types)


def _opened(file: InputFile, columns: Columns) -> tuple[Source, Format]:
    """Open an input file: Parquet where it is, of which parts are read, and others in a copy."""
    named = format_of(Path(file.name))
    if named is not None and named.kind is Kind.PARQUET:
        return ParquetSource(file.open, file.address), named
    return source_of(on_this_machine(file), file.address, columns.wanted)


def records_of(plan: Plan, partition: Partition) -> Iterator[Record]:
    """Yield the rows of a partition.

    Args:
        plan: The plan.
        partition: The partition.

    Raises:
        DataError: The file cannot be read, is damaged, or has fewer rows than when it was planned.
    """
    file = plan.files[partition.file]
    table, _ = _opened(file, plan.columns)
    skipped = partition.first
    if isinstance(table, ParquetSource):
        groups, skipped = _groups_of(table.group_rows, partition)
        records = table.records(groups) if groups else iter(())
    else:
        records = table.records()
    found = 0
    for record in islice(records, skipped, skipped + partition.rows):
        found += 1
        yield record
    if found != partition.rows:
        raise DataError(
            f"{file.address} has fewer rows than when the run began: it was changed meanwhile."
        )


def _groups_of(group_rows: Sequence[int], partition: Partition) -> tuple[list[int], int]:
    """Return the row groups with a partition's rows, and how many other rows come before them."""
    groups: list[int] = []
    skipped, begin = 0, 0
    for number, rows in enumerate(group_rows):
        end = begin + rows
        if begin < partition.first + partition.rows and end > partition.first:
            if not groups:
                skipped = partition.first - begin
            groups.append(number)
        begin = end
    return groups, skipped
