"""The texts of errors and docstrings in the source tree, read without running it."""

from __future__ import annotations

import ast
import builtins
import functools
from collections.abc import Iterator
from pathlib import Path

PLACEHOLDER = "…"
Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def error_texts(*roots: Path) -> Iterator[tuple[str, str]]:
    """Yield where an error of ours is made, and its text.

    Python's own errors never reach a user. What an f-string puts in becomes a placeholder.
    """
    for path, tree in _trees(roots):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not _is_ours(_name(node.func)):
                continue
            for text in filter(None, map(_text, node.args[:1])):
                yield f"{path}:{node.lineno}", text


def docstrings(*roots: Path) -> Iterator[tuple[str, str]]:
    """Yield where a public module, class or function is, and its docstring."""
    for path, tree in _trees(roots):
        for node in _definitions(tree):
            text = ast.get_docstring(node)
            if text and not getattr(node, "name", "").startswith("_"):
                yield f"{path}:{getattr(node, 'lineno', 1)}", text


def function_names(*roots: Path) -> Iterator[tuple[str, str]]:
    """Yield where a function or method is, and its name."""
    for path, tree in _trees(roots):
        for node in _definitions(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path}:{node.lineno}", node.name


def _trees(roots: tuple[Path, ...]) -> Iterator[tuple[Path, ast.Module]]:
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            yield path, parsed(path)


def _definitions(node: ast.AST) -> Iterator[Definition]:
    """Yield a module, its classes and functions; expressions, which have none, are passed over."""
    if isinstance(node, Definition):
        yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _definitions(child)


@functools.lru_cache(maxsize=1000)
def parsed(path: Path) -> ast.Module:
    """Return a module's syntax tree; several tests look at the same ones."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _is_ours(name: str) -> bool:
    return name.endswith("Error") and not name.startswith("_") and not hasattr(builtins, name)


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_text(value) or PLACEHOLDER for value in values)
        case ast.BinOp(left=left, right=right):
            return (_text(left) or PLACEHOLDER) + (_text(right) or PLACEHOLDER)
        case ast.IfExp(body=body, orelse=orelse):
            return _text(body) or _text(orelse)
    return ""
