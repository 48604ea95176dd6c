"""Question-answering data in the manner of SQuAD, 1.1 and 2.0, from every form of data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertqa._checks import path as path_of
from bertqa._data_files import (
    DataAddress,
    Fields,
    Kind,
    Record,
    flattened,
    names_of,
    opened,
    python_value,
)
from bertqa.errors import DataError
from bertqa.evaluation._answers import ANSWERS, TEXT, GoldAnswer, column, given_answers, truth

MISPLACED_LIMIT = 0.01
# What offsets count besides characters, how that is encoded, and the size of a unit in bytes.
_ENCODINGS = (
    ("UTF-16 units, as JavaScript, Java and C# do", "utf-16-le", 2),
    ("bytes of UTF-8", "utf-8", 1),
)
EVALUATION_SPLITS = ("validation", "dev", "test")
_COLUMNS = ("question", "context")
_NESTED = "data["
_MISSING = object()
_UNITS = [unit for unit, _, _ in _ENCODINGS]


@dataclass(frozen=True, slots=True)
class SquadQuestion:
    """One question on one context. `answers` is empty where the context does not answer it."""

    id: str
    question: str
    context: str
    answers: tuple[GoldAnswer, ...]

    @property
    def is_impossible(self) -> bool:
        """Whether the right answer is that there is none."""
        return not self.answers


@dataclass(frozen=True, slots=True)
class SquadDataset:
    """The questions of one file, in its order.

    `misplaced` names the questions that had an answer whose offset did not match, once for each
    such answer; those answers are left out, and so is a question that has no other. `unit` is a
    sentence on what their offsets count, where it is known. `ambiguous` names the questions whose
    answer has no offset and is in the context more than once: the first place is taken.
    """

    name: str
    questions: tuple[SquadQuestion, ...]
    misplaced: tuple[str, ...] = ()
    unit: str = ""
    ambiguous: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.questions)

    def __iter__(self) -> Iterator[SquadQuestion]:
        return iter(self.questions)

    @property
    def has_impossible(self) -> bool:
        """Whether any question has no answer, as in SQuAD 2.0."""
        return any(question.is_impossible for question in self.questions)

    @property
    def sha256(self) -> str:
        """The digest of the questions with their ids, contexts and answers, in their order."""
        digest = hashlib.sha256()
        for each in self.questions:
            answers = [[answer.text, answer.start] for answer in each.answers]
            digest.update(json.dumps([each.id, each.question, each.context, answers]).encode())
        return digest.hexdigest()

    @property
    def warning(self) -> str | None:
        """What was left out, in a sentence or two, or None."""
        sentences = []
        if self.misplaced:
            sentences.append(
                f"{self.name}: left out {len(self.misplaced)} answers whose answer_start does not "
                f"point at their text (questions {names_of(self.misplaced)}). {self.unit}".rstrip()
            )
        if self.ambiguous:
            sentences.append(
                f"{self.name}: {len(self.ambiguous)} answers have no answer_start and are in "
                "their context more than once; the first place is taken (questions "
                f"{names_of(self.ambiguous)})."
            )
        return " ".join(sentences) or None


def read_squad(path: str | Path, *, splits: Sequence[str] = EVALUATION_SPLITS) -> SquadDataset:
    """Read questions with their answers.

    A file is SQuAD 1.1 or 2.0 JSON, a list of flat records as the `datasets` library writes them,
    JSON Lines, Parquet, or CSV; all but Parquet may be compressed with gzip. Flat records have the
    columns `question`, `context` and `answers`, or `answer` with `answer_start`; where a table has
    no `answer_start`, the answer is looked up in its context. An `id` may be missing.

    Args:
        path: The file; a directory of data or one that `datasets` saved, also with `:SPLIT`; or a
            data set of the Hugging Face hub, as `ID[@REVISION][:SPLIT]` or with `:CONFIG/SPLIT`.
        splits: The split that is taken where none is named and there are several, best first.

    Returns:
        The questions in their order; the data set has the file's name.

    Raises:
        InvalidOptionError: `path` is not a path.
        DataError: The data cannot be read, are not like SQuAD, have no question, have an empty
            question or context or the same id twice, or have more than 1 % of answers whose
            `answer_start` does not point at their text.
    """
    return read_address(DataAddress.of(path, path_of("path", path)), splits=splits)


def read_address(
    address: DataAddress, *, splits: Sequence[str] = EVALUATION_SPLITS
) -> SquadDataset:
    """Read questions with their answers from an address that is known already; see `read_squad`.

    Args:
        address: Where they are.
        splits: The split that is taken where none is named and there are several, best first.
    """
    with opened(address, _COLUMNS, splits) as (source, written):
        if source.header is not None:
            _require_columns(source.header, source.name)
        what = "SQuAD JSON" if written.kind is Kind.JSON and address.path.is_file() else ""
        dataset = _made(source.records(), source.name, what)
    return replace(dataset, name=source.name if address.is_dataset else address.name)


def parse_squad(document: Any, name: str) -> SquadDataset:
    """Make a data set of a SQuAD document that is in memory.

    Args:
        document: The parsed JSON, or a list of flat records with `id`, `question`, `context` and
            `answers`.
        name: The name of the data set, which errors begin with.

    Returns:
        The questions in the order of the document.

    Raises:
        DataError: As `read_squad` does, but for what concerns the file.
    """
    return _made(flattened(document, name), name, "SQuAD JSON")


def _made(records: Iterable[Record], name: str, what: str) -> SquadDataset:
    reader = _Reader(name, what)
    questions = tuple(reader.questions(records))
    if reader.misplaced and len(reader.misplaced) > MISPLACED_LIMIT * reader.answers:
        fault = "do not stand where their answer_start says"
        advice = reader.unit or "Offsets count characters, not bytes."
        if reader.absent == len(reader.misplaced):
            fault, advice = "are not in their context", "An answer is copied from its context."
        raise DataError(
            f"{name}: {len(reader.misplaced)} of {reader.answers} answers {fault}, more than the "
            f"{MISPLACED_LIMIT:.0%} that can be left out (questions {names_of(reader.misplaced)}). "
            f"{advice}"
        )
    if not questions:
        raise DataError(f"{name} holds no question.")
    return SquadDataset(
        name, questions, tuple(reader.misplaced), reader.unit, tuple(reader.ambiguous)
    )


def _require_columns(names: Sequence[str], file: str) -> None:
    """Refuse a table that lacks a column, before any row is read."""
    present = dict.fromkeys(names)
    missing = [each for each in _COLUMNS if column(present, (each,)) is None]
    if column(present, (ANSWERS, *TEXT)) is None:
        missing.append(f"{ANSWERS} (or {TEXT[0]})")
    if not names:
        raise DataError(
            f"{file} is empty: it has no column {' and no column '.join(missing)}, not even their "
            "names."
        )
    if missing:
        raise DataError(
            f"{file} has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(names)}. Rename them."
        )


class _Reader:
    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.fields = Fields(name, what) if what else Fields(name)
        self.answers = 0
        self.absent = 0
        self.misplaced: list[str] = []
        self.ambiguous: list[str] = []
        self._ids: set[str] = set()
        self._fitting = dict.fromkeys(_UNITS, 0)

    @property
    def unit(self) -> str:
        """A sentence on what the misplaced offsets count, where all of them count the same."""
        for unit, fitting in self._fitting.items():
            if self.misplaced and fitting == len(self.misplaced):
                return (
                    f"Their offsets count {unit}: count characters (code points), as Python does."
                )
        return ""

    def questions(self, records: Iterable[Record]) -> Iterator[SquadQuestion]:
        for record in records:
            if record.problem is not None:
                raise DataError(f"{self.name} cannot be read: {record.problem}")
            place = record.place[:1].lower() + record.place[1:]
            values = {name: python_value(value) for name, value in record.values.items()}
            question = self._question(values, place)
            if question is not None:
                yield question

    def _question(self, values: dict[str, Any], place: str) -> SquadQuestion | None:
        context = self._text(values, "context", place)
        text = self._text(values, "question", place)
        identifier = self._identifier(values, place)
        if identifier in self._ids:
            raise self.fields.error(
                place, f"the id {identifier!r} stands for another question already"
            )
        self._ids.add(identifier)
        mark = column(values, ("is_impossible",))
        impossible = None if mark is None else truth(values[mark])
        given = given_answers(self.fields, values, place, may_lack=bool(impossible))
        if impossible:  # An empty text says once more that there is no answer.
            given = [each for each in given if not _is_empty(each)]
        if impossible is not None and impossible not in (not given, int(not given)):
            raise self.fields.error(
                place, f"is_impossible is {impossible!r} with {len(given)} answers"
            )
        answers = [
            self._answer(each, f"{place}.answers[{n}]", context, identifier)
            for n, each in enumerate(given)
        ]
        self.answers += len(answers)
        placed = tuple(
            each
            for each in answers
            if each.start >= 0 and context.startswith(each.text, each.start)
        )
        for each in answers:
            if each not in placed:
                self.misplaced.append(identifier)
                self.absent += each.start < 0
                for unit, encoding, size in _ENCODINGS:
                    self._fitting[unit] += _stands_at(context, each, encoding, size)
        if answers and not placed:
            return None
        return SquadQuestion(identifier, text, context, placed)

    def _text(self, values: dict[str, Any], name: str, place: str) -> str:
        return self.fields.text(values, column(values, (name,)) or name, place)

    def _identifier(self, values: dict[str, Any], place: str) -> str:
        name = column(values, ("id",))
        if name is None and _NESTED not in place:
            return place
        value = self.fields.value(values, name or "id", place)
        return str(int(value)) if _is_whole(value) else self._text(values, "id", place)

    def _answer(self, answer: Any, place: str, context: str, identifier: str) -> GoldAnswer:
        text = self.fields.text(answer, "text", place)
        start = answer.get("answer_start", _MISSING)
        if start is None:
            if context.count(text) > 1:
                self.ambiguous.append(identifier)
            return GoldAnswer(text, context.find(text))
        if not _is_whole(start) or start < 0:
            shown = None if start is _MISSING else start
            raise self.fields.error(place, f"answer_start is {shown!r} and should be 0 or more")
        return GoldAnswer(text, int(start))


def _stands_at(context: str, answer: GoldAnswer, encoding: str, size: int) -> bool:
    if answer.start < 0:
        return False
    begin = answer.start * size
    return context.encode(encoding).startswith(answer.text.encode(encoding), begin)


def _is_whole(value: Any) -> bool:
    """Return whether a value is a whole number: a table with gaps makes 3.0 of 3."""
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_empty(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("text") in ("", None) and "text" in answer
