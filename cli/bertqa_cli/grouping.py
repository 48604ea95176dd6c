"""Groups of options: one parameter of a verb that stands for several options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def grouped_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take groups of options.

    Each parameter whose type is a dataclass stands for the fields of that dataclass, each of which
    becomes an option.

    Args:
        verb: The function of a verb, whose parameters have type hints.

    Returns:
        The verb as Typer reads it, with every option as a parameter of its own.
    """
    parameters = []
    groups: dict[str, type[Any]] = {}
    hints = get_type_hints(verb, include_extras=True)
    for name, parameter in inspect.signature(verb).parameters.items():
        kind = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[name] = kind
            parameters += _parameters_of(kind)
        else:
            parameters.append(
                parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
            )

    @wraps(verb)
    def grouped(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{each.name: values.pop(each.name) for each in fields(kind)})
        verb(**values)

    grouped.__annotations__ = {each.name: each.annotation for each in parameters}
    vars(grouped)["__signature__"] = inspect.Signature(parameters)
    return grouped


def _parameters_of(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if each.default is MISSING else each.default,
            annotation=hints[each.name],
        )
        for each in fields(group)
    ]
