"""The keys of a recipe's sections, by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bertqa_build.yaml_document import Loc

_NONE = type(None)


def known_keys(root: type[BaseModel], loc: Loc) -> list[str]:
    """Return the keys of the section at a place.

    Args:
        root: The outermost section.
        loc: The keys that lead to the section.
    """
    section = root
    for part in loc:
        if isinstance(part, str) and part in section.model_fields:
            section = next(sections(section.model_fields[part].annotation), section)
    return list(section.model_fields)


def every_key(root: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each key that has a value of its own, with dots, and its field; sections are opened.

    Args:
        root: The outermost section.
        before: What the keys begin with.
    """
    for name, field in root.model_fields.items():
        inner = section_of(field)
        if inner is None:
            yield f"{before}{name}", field
        else:
            yield from every_key(inner, f"{before}{name}.")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field is, None where it is a value or may be one."""
    kinds = [each for each in get_args(field.annotation) or [field.annotation] if each is not _NONE]
    if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
        return kinds[0]
    return None


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections in a type annotation, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from sections(part)
