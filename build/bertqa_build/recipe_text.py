"""A recipe as commented YAML: the values that are given, and every other key with its default."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bertqa_build.recipe import Recipe
from bertqa_build.recipe_keys import section_of

_WIDTH = 96


def recipe_text(values: Mapping[str, Any], heading: str, *, whole: bool = False) -> str:
    """Return the text of a recipe.

    Args:
        values: The values by keys, as a recipe has them.
        heading: What the recipe is, in sentences.
        whole: Whether sections without a value have a line for each key too, in place of their
            names.

    Returns:
        YAML with a comment on each key. Keys without a value are commented out; they show what
        holds for them.
    """
    lines = [*_comment(heading, ""), "", *_section(Recipe, values, "", whole, is_active=True)]
    return "\n".join(lines) + "\n"


def _section(
    section: type[BaseModel],
    values: Mapping[str, Any],
    indent: str,
    whole: bool,
    *,
    is_active: bool,
) -> Iterator[str]:
    for name, field in section.model_fields.items():
        given = is_active and name in values
        inner = section_of(field)
        yield from _comment(_description(name, field, inner), indent, twice=not is_active)
        if inner is None:
            yield from _key(name, values[name] if given else _default(field), indent, given=given)
            continue
        held = values.get(name) if given else None
        opened = isinstance(held, Mapping)
        if not opened and not whole:
            if given:
                yield f"{indent}{name}: null"
            yield from _comment(f"{name}: {', '.join(inner.model_fields)}", indent)
            continue
        yield f"{indent}{'' if opened else '# '}{name}:{' null' if given and held is None else ''}"
        inside = held if isinstance(held, Mapping) else {}
        yield from _section(inner, inside, f"{indent}  ", whole, is_active=opened)


def _key(name: str, value: Any, indent: str, *, given: bool) -> Iterator[str]:
    text = yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=_WIDTH)
    for line in text.splitlines():
        yield f"{indent}{'' if given else '# '}{line}"


def _description(name: str, field: FieldInfo, inner: type[BaseModel] | None) -> str:
    text = field.description or ((inner and inner.__doc__) or name).strip().splitlines()[0]
    return text.replace("`", "")


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return None
    return value if isinstance(value, bool | int | float | str | list | None) else str(value)


def _comment(text: str, indent: str, *, twice: bool = False) -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH - len(indent)):
        yield f"{indent}#{'#' if twice else ''} {line}"
