"""SQuAD's nested JSON, and lists of flat records, as rows; every fault is named with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertqa._data_files._records import Record
from bertqa._words import first_of
from bertqa.errors import DataError

_NAMED = 5
# An article has neither: a row that has one of them may have its context in any other column.
_OF_QUESTIONS = {"question", "context"}
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false"}


class Fields:
    """Takes values out of parsed JSON, or refuses them.

    Args:
        name: What to call the file in messages.
        what: What it should be.
    """

    def __init__(self, name: str, what: str = "like SQuAD") -> None:
        self.name = name
        self.what = what

    def value(self, holder: Any, key: str, place: str) -> Any:
        """Return a value of an object.

        Args:
            holder: The object.
            key: The key.
            place: Where the object is, for messages.

        Raises:
            DataError: It is not an object, or has no such key.
        """
        if not hasattr(holder, "keys"):
            raise self.error(place, f"found {_kind_of(holder)} where an object should be")
        if key not in holder:
            found = names_of([str(each) for each in holder]) or "nothing"
            raise self.error(place, f"{key} is missing: found {found}")
        return holder[key]

    def list(self, holder: Any, key: str, place: str) -> list[Any]:
        """Return a value that is a list; see `value`."""
        value = self.value(holder, key, place)
        if not isinstance(value, list):
            raise self.error(place, f"{key} is {_kind_of(value)} and should be a list")
        return value

    def text(self, holder: Any, key: str, place: str) -> str:
        """Return a value that is text with something in it; see `value`."""
        value = self.value(holder, key, place)
        if not isinstance(value, str):
            raise self.error(place, f"{key} is {_kind_of(value)} and should be text")
        if not value.strip():
            raise self.error(place, f"{key} is empty")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise self.error(place, f"{key} holds half a surrogate pair") from error
        return value

    def error(self, place: str, problem: str) -> DataError:
        """Return the error for a fault.

        Args:
            place: Where it is.
            problem: What is wrong, as the end of a sentence.
        """
        return DataError(f"{self.name} is not {self.what}: at {place}, {problem}.")


def flattened(document: Any, name: str, place: str = "") -> Iterator[Record]:
    """Yield the questions of a document, each with its context.

    Args:
        document: Parsed JSON: SQuAD's own form, a list of flat records or of SQuAD's articles, or
            one of these alone.
        name: What to call the file in messages.
        place: Where the document is in the file, empty where it is the whole of it.

    Raises:
        DataError: It is neither.
    """
    fields = Fields(name, "SQuAD JSON")
    is_list = isinstance(document, list)
    if _is_row(document):
        document, is_list = [document], True
    articles = document if is_list else fields.list(document, "data", "the document")
    outer = f"{place}." if place else ""
    for number, article in enumerate(articles):
        at = f"Record {number + 1}" if is_list else f"{outer}data[{number}]"
        if isinstance(article, dict) and ("paragraphs" not in article or _is_document(article)):
            yield from expanded(article, at, name)
        else:
            yield from _questions(fields, article, at)


def expanded(values: Mapping[str, Any], place: str, name: str) -> Iterator[Record]:
    """Yield a row, or, where it holds a document or an article in SQuAD's form, its questions.

    Args:
        values: The row's values.
        place: Where it is, such as "Line 3".
        name: What to call the file in messages.

    Raises:
        DataError: The document or the article is damaged.
    """
    if _is_document(values):
        yield from flattened(values, name, place)
    elif isinstance(values.get("paragraphs"), list) and not values.keys() & _OF_QUESTIONS:
        yield from _questions(Fields(name, "SQuAD JSON"), values, place)
    else:
        yield Record(place, values)


def _is_row(document: Any) -> bool:
    """Return whether a whole file is one record or article, as JSON Lines of one line is."""
    is_filled = isinstance(document, dict) and bool(document)
    return is_filled and ("data" not in document or "context" in document)


def _is_document(values: Mapping[str, Any]) -> bool:
    return isinstance(values.get("data"), list) and "context" not in values


def _questions(fields: Fields, article: Any, place: str) -> Iterator[Record]:
    place = place[:1].lower() + place[1:]
    for p, paragraph in enumerate(fields.list(article, "paragraphs", place)):
        within = f"{place}.paragraphs[{p}]"
        context = fields.text(paragraph, "context", within)
        for q, qa in enumerate(fields.list(paragraph, "qas", within)):
            at = f"{within}.qas[{q}]"
            if not isinstance(qa, dict):
                raise fields.error(at, f"found {_kind_of(qa)} where an object should be")
            title = {"title": article["title"]} if "title" in article else {}
            yield Record(at, {**title, **qa, "context": context})


def _kind_of(value: Any) -> str:
    """Return what kind of JSON a value is, for a message."""
    return "null" if value is None else _KINDS.get(type(value), "a number")


def names_of(identifiers: list[str] | tuple[str, ...]) -> str:
    """Return a few of several names, and how many more there are, for a message."""
    return first_of(list(dict.fromkeys(identifiers)), _NAMED)
