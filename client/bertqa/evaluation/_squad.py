"""Question-answering data in the manner of SQuAD, 1.1 and 2.0, as nested or flat records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertqa._checks import path as path_of
from bertqa.errors import DataError
from bertqa.evaluation._squad_file import load_document

MISPLACED_LIMIT = 0.01
_NAMED = 5
# What offsets count besides characters, how that is encoded, and the size of a unit in bytes.
_ENCODINGS = (
    ("UTF-16 units, as JavaScript, Java and C# do", "utf-16-le", 2),
    ("bytes of UTF-8", "utf-8", 1),
)
_UNITS = [unit for unit, _, _ in _ENCODINGS]


@dataclass(frozen=True, slots=True)
class GoldAnswer:
    """A right answer: `context[start:start + len(text)] == text`, in characters."""

    text: str
    start: int


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
    sentence on what their offsets count, where it is known.
    """

    name: str
    questions: tuple[SquadQuestion, ...]
    misplaced: tuple[str, ...] = ()
    unit: str = ""

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
        if not self.misplaced:
            return None
        return (
            f"{self.name}: left out {len(self.misplaced)} answers whose answer_start does not "
            f"point at their text (questions {_names(self.misplaced)}). {self.unit}".rstrip()
        )


def read_squad(path: str | Path) -> SquadDataset:
    """Read a SQuAD 1.1 or 2.0 file.

    Besides SQuAD's own JSON it may hold flat records, as the `datasets` library writes them: in
    JSON Lines, in a list or in Parquet. JSON may be compressed with gzip.

    Args:
        path: The file; JSON is in UTF-8, or in UTF-16 with its mark.

    Returns:
        The questions in the order of the file; the data set has the file's name.

    Raises:
        InvalidOptionError: `path` is not a path.
        DataError: The file cannot be read, is not like SQuAD, has no question, has an empty
            question or context or the same id twice, or has more than 1 % of answers whose
            `answer_start` does not point at their text.
    """
    file = path_of("path", path)
    dataset = parse_squad(load_document(file), str(file))
    return replace(dataset, name=file.name)


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
    reader = _Reader(name)
    questions = tuple(reader.questions(document))
    if reader.misplaced and len(reader.misplaced) > MISPLACED_LIMIT * reader.answers:
        raise DataError(
            f"{name}: {len(reader.misplaced)} of {reader.answers} answers do not stand where "
            f"their answer_start says, more than the {MISPLACED_LIMIT:.0%} that can be left out "
            f"(questions {_names(reader.misplaced)}). "
            f"{reader.unit or 'Offsets count characters, not bytes.'}"
        )
    if not questions:
        raise DataError(f"{name} holds no question.")
    return SquadDataset(name, questions, tuple(reader.misplaced), reader.unit)


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.answers = 0
        self.misplaced: list[str] = []
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

    def questions(self, document: Any) -> Iterator[SquadQuestion]:
        is_list = isinstance(document, list) and bool(document)
        articles = document if is_list else self._list(document, "data", "the document")
        for a, article in enumerate(articles):
            article_place = f"record {a + 1}" if is_list else f"data[{a}]"
            if isinstance(article, dict) and "paragraphs" not in article and "context" in article:
                context = self._text(article, "context", article_place)
                question = self._question(article, context, article_place)
                if question is not None:
                    yield question
                continue
            for p, paragraph in enumerate(self._list(article, "paragraphs", article_place)):
                place = f"{article_place}.paragraphs[{p}]"
                context = self._text(paragraph, "context", place)
                for q, qa in enumerate(self._list(paragraph, "qas", place)):
                    question = self._question(qa, context, f"{place}.qas[{q}]")
                    if question is not None:
                        yield question

    def _question(self, qa: Any, context: str, place: str) -> SquadQuestion | None:
        text = self._text(qa, "question", place)
        identifier = self._identifier(qa, place)
        if identifier in self._ids:
            raise self._error(place, f"the id {identifier!r} stands for another question already")
        self._ids.add(identifier)
        impossible = qa.get("is_impossible")
        given = self._answers(qa, place, may_lack=bool(impossible))
        if impossible:  # An empty text says once more that there is no answer.
            given = [each for each in given if not _is_empty(each)]
        if impossible is not None and impossible not in (not given, int(not given)):
            raise self._error(place, f"is_impossible is {impossible!r} with {len(given)} answers")
        answers = [self._answer(each, f"{place}.answers[{n}]") for n, each in enumerate(given)]
        self.answers += len(answers)
        placed = tuple(each for each in answers if context.startswith(each.text, each.start))
        for each in answers:
            if each not in placed:
                self.misplaced.append(identifier)
                for unit, encoding, size in _ENCODINGS:
                    self._fitting[unit] += _stands_at(context, each, encoding, size)
        if answers and not placed:
            return None
        return SquadQuestion(identifier, text, context, placed)

    def _identifier(self, qa: Any, place: str) -> str:
        value = self._value(qa, "id", place)
        return str(int(value)) if _is_whole(value) else self._text(qa, "id", place)

    def _answers(self, qa: Any, place: str, *, may_lack: bool) -> list[Any]:
        """Return the answers one by one; flat records have a list of texts and one of offsets."""
        if may_lack and qa.get("answers") is None:
            return []
        value = self._value(qa, "answers", place)
        if not isinstance(value, dict):
            return self._list(qa, "answers", place)
        texts = self._list(value, "text", f"{place}.answers")
        starts = self._list(value, "answer_start", f"{place}.answers")
        if len(texts) != len(starts):
            raise self._error(
                f"{place}.answers", f"{len(texts)} texts have {len(starts)} values of answer_start"
            )
        return [
            {"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)
        ]

    def _answer(self, answer: Any, place: str) -> GoldAnswer:
        text = self._text(answer, "text", place)
        start = answer.get("answer_start")
        if not _is_whole(start) or start < 0:
            raise self._error(place, f"answer_start is {start!r} and should be 0 or more")
        return GoldAnswer(text, int(start))

    def _list(self, holder: Any, key: str, place: str) -> list[Any]:
        value = self._value(holder, key, place)
        if not isinstance(value, list):
            raise self._error(place, f"{key} is {_kind(value)} and should be a list")
        return value

    def _text(self, holder: Any, key: str, place: str) -> str:
        value = self._value(holder, key, place)
        if not isinstance(value, str):
            raise self._error(place, f"{key} is {_kind(value)} and should be text")
        if not value.strip():
            raise self._error(place, f"{key} is empty")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise self._error(place, f"{key} holds half a surrogate pair") from error
        return value

    def _value(self, holder: Any, key: str, place: str) -> Any:
        if not isinstance(holder, dict):
            raise self._error(place, f"found {_kind(holder)} where an object should be")
        if key not in holder:
            found = _names([str(each) for each in holder]) or "nothing"
            raise self._error(place, f"{key} is missing: found {found}")
        return holder[key]

    def _error(self, place: str, problem: str) -> DataError:
        return DataError(f"{self.name} is not SQuAD JSON: at {place}, {problem}.")


def _stands_at(context: str, answer: GoldAnswer, encoding: str, size: int) -> bool:
    begin = answer.start * size
    return context.encode(encoding).startswith(answer.text.encode(encoding), begin)


def _is_whole(value: Any) -> bool:
    """Return whether a value is a whole number: a table with gaps makes 3.0 of 3."""
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_empty(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("text") in ("", None) and "text" in answer


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _names(identifiers: list[str] | tuple[str, ...]) -> str:
    distinct = list(dict.fromkeys(identifiers))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return ", ".join(distinct[:_NAMED]) + more
