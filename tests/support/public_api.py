"""The public API of `bertqa` as text: names, signatures and attributes, without importing it.

python -m tests.support.public_api > tests/client/public_api.txt
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).parents[2]
NO_DEFAULT = (griffe.ParameterKind.var_positional, griffe.ParameterKind.var_keyword)
STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


def public_api() -> str:
    """One line for each public name of `bertqa`, and for each public member of a class."""
    package: Any = griffe.load(
        "bertqa", search_paths=[ROOT / "client"], allow_inspection=False, resolve_aliases=True
    )
    return "".join(f"{line}\n" for name in package.exports for line in _lines(name, package[name]))


def _lines(name: str, member: Any) -> Iterator[str]:
    if member.is_alias:
        member = member.final_target
    if member.is_function:
        for overload in member.overloads or [member]:
            yield f"{name}{_signature(overload)} -> {overload.returns}"
    elif member.is_class:
        bases = ", ".join(str(base) for base in member.bases)
        yield f"class {name}({bases})"
        for each, inherited in sorted(member.all_members.items()):
            if each == "__init__" or not each.startswith("_"):
                yield from _lines(f"{name}.{each}", inherited)
    else:
        yield f"{name}: {member.annotation}" if member.annotation else name


def _signature(function: Any) -> str:
    shown = []
    keywords_only = False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not keywords_only:
            keywords_only = True
            shown.append("*")
        text = f"{STARS.get(parameter.kind, '')}{parameter.name}: {parameter.annotation}"
        if parameter.default is not None and parameter.kind not in NO_DEFAULT:
            text += f" = {parameter.default}"
        shown.append(text)
    return f"({', '.join(shown)})"


if __name__ == "__main__":
    print(public_api(), end="")
