"""Which columns of a file hold the question and its context, and what the output repeats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertqa._data_files import Record, alike, find, folded, is_deep, python_value
from bertqa.errors import DataError, InvalidOptionError

ANSWER_COLUMNS = ("answer", "start", "end", "score", "model_version")
RANK = "rank"
ERROR = "error"


@dataclass(frozen=True, slots=True)
class Row:
    """A row to answer; one with a `problem` cannot be.

    Attributes:
        question: The question, of any type: the client checks it.
        context: The context, of any type.
        kept: What the output repeats: all columns but the context, which may be long.
        digest: Stands for all values, for comparing them with those of an earlier run.
        problem: A sentence, or None.
    """

    question: Any
    context: Any
    kept: dict[str, Any]
    digest: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns, which a file may write in upper or lower case.

    Attributes:
        question: The column of the question.
        context: The column of the context.
        id: A column that has to be there and filled, or None.
        ranked: Whether the output has a column `rank`, for several answers to each question.
        holds_nul: Whether the output's format has the character NUL, which CSV has not.

    Raises:
        InvalidOptionError: Two of them are the same column.
    """

    question: str
    context: str
    id: str | None
    ranked: bool
    holds_nul: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        if folded(self.question) == folded(self.context):
            raise InvalidOptionError(
                f"The question and the context are both in the column {self.question!r}: name two."
            )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that a file has to have."""
        return (self.question, self.context) + (() if self.id is None else (self.id,))

    @property
    def own(self) -> tuple[str, ...]:
        """The columns that the output adds."""
        return ((RANK,) if self.ranked else ()) + (*ANSWER_COLUMNS, ERROR)

    def kept(self, names: Iterable[str]) -> list[str]:
        """Return the columns of a file that the output repeats.

        Args:
            names: The names of the file's columns.
        """
        present = list(names)
        context = find(present, self.context)
        return [name for name in present if name != context]

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the wanted columns that are not among others.

        Args:
            names: The names of a file's columns.
        """
        return [wanted for wanted in self.wanted if find(names, wanted) is None]

    def naming(self, missing: Sequence[str]) -> str:
        """Return a sentence with the options that name the columns that are missing.

        Args:
            missing: Some of the wanted columns.
        """
        named = {self.question: "question_column=", self.context: "context_column="}
        options = dict.fromkeys(named.get(column, "id_column=") for column in missing)
        others = "another" if len(missing) == 1 else "others"
        return f"Name {others} with {' and '.join(options)}."

    def check(self, names: Sequence[str], file: str) -> None:
        """Check the columns of a file that has the same in each row.

        Args:
            names: Their names, in order.
            file: The name of the file, for messages.

        Raises:
            DataError: One is missing, is there twice, or has the name of one of the output's.
        """
        missing = self.missing(names)
        if not names:
            raise DataError(
                f"{file} is empty: it has no column {' and no column '.join(missing)}, not even "
                "their names."
            )
        if missing:
            raise DataError(
                f"{file} has no column {' and no column '.join(missing)}; its columns are "
                f"{', '.join(names)}. {self.naming(missing)}"
            )
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise DataError(f"{file} has two columns {twice[0]!r}: rename one.")
        for wanted in self.wanted:
            if wanted not in names and len(alike(names, wanted)) > 1:
                raise DataError(
                    f"{file} has several columns that may be {wanted!r}: "
                    f"{', '.join(alike(names, wanted))}. Name one exactly."
                )
        clashing = [name for name in self.kept(names) if name in self.own]
        if clashing:
            raise DataError(f"{file} has a column {clashing[0]!r}, as the output has: rename it.")

    def row(self, record: Record) -> Row:
        """Return a record as a row to answer.

        Args:
            record: The record.
        """
        values, place, problem = record.values, record.place, record.problem
        names = list(values)
        missing = self.missing(names)
        clashing = [name for name in self.kept(names) if name in self.own]
        if problem is None and missing:
            problem = f"{place} has no {' and no '.join(missing)}."
        elif problem is None and clashing:
            problem = f"{place} has a field {clashing[0]!r}, as the output has: rename it."
        kept = {
            name: values[name]
            for name in self.kept(names)
            if name not in self.own and _is_encodable(name) and (self.holds_nul or "\0" not in name)
        }
        if problem is None and self._lacks_id(values, names):
            problem = f"{place} has nothing in {self.id}."
        try:
            text = json.dumps(values, ensure_ascii=False, default=_shown)
        except RecursionError:
            text = ""
        if not text or is_deep(text):
            text, kept, problem = "", {}, f"{place} is nested too deeply."
        if problem is None and not _is_encodable(text):
            problem = self._lone_surrogate(values, place)
        if problem is None and not self.holds_nul:
            problem = _nul(values, place)
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12)
        question, context = (
            None if found is None else python_value(values[found])
            for found in (find(names, self.question), find(names, self.context))
        )
        return Row(question, context, kept, digest.hexdigest(), problem)

    def _lacks_id(self, values: Mapping[str, Any], names: Sequence[str]) -> bool:
        return self.id is not None and python_value(values[_found(names, self.id)]) in (None, "")

    def _lone_surrogate(self, values: Mapping[str, Any], place: str) -> str | None:
        """Return what is wrong with a column besides question and context, if anything is."""
        asked = [find(list(values), each) for each in (self.question, self.context)]
        for name, value in values.items():
            if name not in asked and not _is_encodable(
                json.dumps([name, value], ensure_ascii=False, default=_shown)
            ):
                return f"{place} has a lone surrogate in {name!a}: it was decoded wrongly."
        return None


def _nul(values: Mapping[str, Any], place: str) -> str | None:
    """Return which column has a NUL, if any has: text within a list or an object is escaped."""
    for name, value in values.items():
        text = python_value(value)
        if "\0" in name or (isinstance(text, str) and "\0" in text):
            return (
                f"{place} has a NUL character in {name!r}, which CSV cannot hold: write .jsonl, or "
                "remove it."
            )
    return None


def _found(names: Sequence[str], wanted: str) -> str:
    found = find(names, wanted)
    assert found is not None
    return found


def _shown(value: Any) -> str:
    return str(python_value(value))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
