"""SQuAD's nested JSON, and lists of flat records, as rows; every fault is named with its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bertqa._data_files._records import Record
from bertqa.errors import DataError

_NAMED = 5
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
            raise self.error(place, f"found {kind_of(holder)} where an object should be")
        if key not in holder:
            found = names_of([str(each) for each in holder]) or "nothing"
            raise self.error(place, f"{key} is missing: found {found}")
        return holder[key]

    def list(self, holder: Any, key: str, place: str) -> list[Any]:
        """Return a value that is a list; see `value`."""
        value = self.value(holder, key, place)
        if not isinstance(value, list):
            raise self.error(place, f"{key} is {kind_of(value)} and should be a list")
        return value

    def text(self, holder: Any, key: str, place: str) -> str:
        """Return a value that is text with something in it; see `value`."""
        value = self.value(holder, key, place)
        if not isinstance(value, str):
            raise self.error(place, f"{key} is {kind_of(value)} and should be text")
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


def flattened(document: Any, name: str) -> Iterator[Record]:
    """Yield the questions of a document, each with its context.

    Args:
        document: Parsed JSON: SQuAD's own form, or a list of flat records or of SQuAD's articles.
        name: What to call the file in messages.

    Raises:
        DataError: It is neither.
    """
    fields = Fields(name, "SQuAD JSON")
    is_list = isinstance(document, list) and bool(document)
    articles = document if is_list else fields.list(document, "data", "the document")
    for number, article in enumerate(articles):
        place = f"record {number + 1}" if is_list else f"data[{number}]"
        if is_nested(article):
            yield from flattened(article, name)
        elif isinstance(article, dict) and "paragraphs" not in article:
            yield Record(place.capitalize() if is_list else place, article)
        else:
            yield from _questions(fields, article, place)


def is_nested(value: Any) -> bool:
    """Return whether a parsed value is a whole document in SQuAD's form, not a record."""
    return (
        isinstance(value, dict) and isinstance(value.get("data"), list) and "context" not in value
    )


def _questions(fields: Fields, article: Any, place: str) -> Iterator[Record]:
    for p, paragraph in enumerate(fields.list(article, "paragraphs", place)):
        within = f"{place}.paragraphs[{p}]"
        context = fields.text(paragraph, "context", within)
        for q, qa in enumerate(fields.list(paragraph, "qas", within)):
            at = f"{within}.qas[{q}]"
            if not isinstance(qa, dict):
                raise fields.error(at, f"found {kind_of(qa)} where an object should be")
            title = {"title": article["title"]} if "title" in article else {}
            yield Record(at, {**title, **qa, "context": context})


def kind_of(value: Any) -> str:
    """Return what kind of JSON a value is, for a message."""
    return "null" if value is None else _KINDS.get(type(value), "a number")


def names_of(identifiers: list[str] | tuple[str, ...]) -> str:
    """Return a few of several names, and how many more there are, for a message."""
    distinct = list(dict.fromkeys(identifiers))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return ", ".join(distinct[:_NAMED]) + more
