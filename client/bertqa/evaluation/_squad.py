"""Reading question-answering data in SQuAD JSON, 1.1 and 2.0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertqa._reason import reason_of
from bertqa.errors import DataError

MISPLACED_LIMIT = 0.01
_NAMED = 5


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
    such answer; those answers are left out, and so is a question that has no other.
    """

    name: str
    questions: tuple[SquadQuestion, ...]
    misplaced: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.questions)

    def __iter__(self) -> Iterator[SquadQuestion]:
        return iter(self.questions)

    @property
    def has_impossible(self) -> bool:
        """Whether any question has no answer, as in SQuAD 2.0."""
        return any(question.is_impossible for question in self.questions)

    @property
    def warning(self) -> str | None:
        """One sentence on what was left out, or None."""
        if not self.misplaced:
            return None
        return (
            f"{self.name}: left out {len(self.misplaced)} answers whose answer_start does not "
            f"point at their text (questions {_names(self.misplaced)})."
        )


def read_squad(path: Path) -> SquadDataset:
    """Read a SQuAD 1.1 or 2.0 file.

    Args:
        path: The JSON file, in UTF-8.

    Returns:
        The questions in the order of the file; the data set has the file's name.

    Raises:
        DataError: The file cannot be read, is not SQuAD JSON, has no question, has an empty
            question or context or the same id twice, or has more than 1 % of answers whose
            `answer_start` does not point at their text.
    """
    dataset = parse_squad(_load(path), str(path))
    return replace(dataset, name=path.name)


def parse_squad(document: Any, name: str) -> SquadDataset:
    """Make a data set of a SQuAD document that is in memory.

    Args:
        document: The parsed JSON.
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
            f"(questions {_names(reader.misplaced)}). Offsets count characters, not bytes."
        )
    if not questions:
        raise DataError(f"{name} holds no question.")
    return SquadDataset(name, questions, tuple(reader.misplaced))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}.") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON in UTF-8: {error}.") from error


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.answers = 0
        self.misplaced: list[str] = []
        self._ids: set[str] = set()

    def questions(self, document: Any) -> Iterator[SquadQuestion]:
        for a, article in enumerate(self._list(document, "data", "the document")):
            article_place = f"data[{a}]"
            for p, paragraph in enumerate(self._list(article, "paragraphs", article_place)):
                place = f"{article_place}.paragraphs[{p}]"
                context = self._text(paragraph, "context", place)
                for q, qa in enumerate(self._list(paragraph, "qas", place)):
                    question = self._question(qa, context, f"{place}.qas[{q}]")
                    if question is not None:
                        yield question

    def _question(self, qa: Any, context: str, place: str) -> SquadQuestion | None:
        text = self._text(qa, "question", place)
        identifier = self._text(qa, "id", place)
        if identifier in self._ids:
            raise self._error(place, f"the id {identifier!r} stands for another question already")
        self._ids.add(identifier)
        given = self._list(qa, "answers", place)
        if "is_impossible" in qa and qa["is_impossible"] is not (not given):
            raise self._error(
                place, f"is_impossible is {qa['is_impossible']!r} with {len(given)} answers"
            )
        answers = [self._answer(each, f"{place}.answers[{n}]") for n, each in enumerate(given)]
        self.answers += len(answers)
        placed = tuple(each for each in answers if context.startswith(each.text, each.start))
        self.misplaced += [identifier] * (len(answers) - len(placed))
        if answers and not placed:
            return None
        return SquadQuestion(identifier, text, context, placed)

    def _answer(self, answer: Any, place: str) -> GoldAnswer:
        text = self._text(answer, "text", place)
        start = answer.get("answer_start")
        if type(start) is not int or start < 0:
            raise self._error(place, f"answer_start is {start!r} and should be 0 or more")
        return GoldAnswer(text, start)

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
            raise self._error(place, f"{key} is missing")
        return holder[key]

    def _error(self, place: str, problem: str) -> DataError:
        return DataError(f"{self.name} is not SQuAD JSON: at {place}, {problem}.")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else kinds.get(type(value), "a number")


def _names(identifiers: list[str] | tuple[str, ...]) -> str:
    distinct = list(dict.fromkeys(identifiers))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return ", ".join(distinct[:_NAMED]) + more
