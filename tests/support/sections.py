"""What the docstrings of public functions leave out, read without running the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.messages import parsed

Function = ast.FunctionDef | ast.AsyncFunctionDef

NOTHING = {"None", "NoReturn", "Never", "Iterator[None]", "AsyncIterator[None]"}
SECTION = r"^{}:\n((?:[ ]+.*\n?|\n)+)"


def undocumented(root: Path) -> Iterator[str]:
    """Yield each public function and method below a folder whose docstring lacks something."""
    for path in sorted(root.rglob("*.py")):
        for name, function, is_method in _functions(parsed(path)):
            if lacks := ", ".join(_lacks(function, is_method)):
                yield f"{path}:{function.lineno}: {name} lacks {lacks}"


def _functions(
    node: ast.Module | ast.ClassDef, owner: str = ""
) -> Iterator[tuple[str, Function, bool]]:
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from _functions(child, f"{owner}{child.name}.")
        elif isinstance(child, Function) and not child.name.startswith("_"):
            yield f"{owner}{child.name}", child, bool(owner)


def _lacks(function: Function, is_method: bool) -> Iterator[str]:
    decorators = [ast.unparse(each) for each in function.decorator_list]
    if any(re.search(r"property$|\.setter$|overload$|command\(", each) for each in decorators):
        return
    text = ast.get_docstring(function)
    if text is None:
        yield "a docstring"
        return
    if re.search(r"\b[Ss]ee\s`", text):
        return
    parameters = _parameters(function, bool(is_method and "staticmethod" not in decorators))
    summary = re.split(r"\n\n|\.\s", text)[0]
    if len(parameters) < 2 and re.match(r"Return|Yield", summary):
        return
    documented = re.search(SECTION.format("Args"), text, re.MULTILINE)
    for parameter in parameters:
        entry = rf"^ +\**(?:\w+, \**)*{parameter}(?:, \**\w+)*:"
        if documented is None or not re.search(entry, documented[1], re.MULTILINE):
            yield f"`{parameter}` in Args"
    returns = ast.unparse(function.returns) if function.returns else "None"
    if returns in NOTHING or re.match(r"Return|Yield", summary):
        return
    if not parameters and re.search(r"\breturn\b", summary):
        return
    if not re.search(SECTION.format("(?:Returns|Yields)"), text, re.MULTILINE):
        yield "Returns"


def _parameters(function: Function, is_method: bool) -> list[str]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    rest = filter(None, (arguments.vararg, arguments.kwarg))
    return [each.arg for each in [*named[is_method:], *rest]]
