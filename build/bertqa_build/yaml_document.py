"""Reading YAML that a user wrote: every mistake has a line, and no document is expensive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from bertqa_build.errors import RecipeError

Loc = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

_LONGEST = 2**18
_DEEPEST = 20
_LONGEST_NUMBER = 1000


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A document with the places of its values.

    Attributes:
        values: What it contains, as `yaml.safe_load` returns it.
    """

    values: Any
    _root: yaml.Node | None = None

    @property
    def is_text(self) -> bool:
        """Whether its values have lines, and were not made by code."""
        return self._root is not None

    def find(self, loc: Loc) -> tuple[int, str]:
        """Return the line of a value, or else of what contains it, and its dotted key."""
        node = self._root
        line = 1
        names: list[str] = []
        for part in loc:
            if isinstance(part, str):
                names.append(part)
            elif not isinstance(node, yaml.ScalarNode):
                names[-1] += f"[{part}]"
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == part:
                        line, node = key.start_mark.line + 1, value
                        break
            elif (
                isinstance(node, yaml.SequenceNode)
                and isinstance(part, int)
                and part < len(node.value)
            ):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line, ".".join(names)


def read_yaml(text: str, place: str) -> YamlDocument:
    """Read one document.

    Args:
        text: The document. Aliases are refused, because a few lines of them can stand for more
            values than fit into memory; so are very long and very deep documents.
        place: What error messages begin with, such as the file's name.

    Returns:
        The document; its values are None where it is empty.

    Raises:
        RecipeError: The document is not valid YAML or is refused; the message names the line.
    """
    if len(text) > _LONGEST:
        raise RecipeError(
            f"{place} has {len(text)} characters, and at most {_LONGEST} are read. Is it a recipe?"
        )
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _refuse_repeated_keys(root)
        return YamlDocument(None if root is None else loader.construct_document(root), root)
    except _RefusedError as error:
        raise RecipeError(f"{place}, line {error.line}: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(
            f"{place}, line {line}: this is not valid YAML: {error.problem}."
        ) from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{place} is not valid YAML: {error}.") from error


class _RefusedError(Exception):
    def __init__(self, message: str, mark: Any) -> None:
        super().__init__(message)
        self.line = mark.line + 1


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(
                f"`*{event.anchor}` is an alias, which is not allowed here: write the value out.",
                event.start_mark,
            )
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _RefusedError(
                f"Values are nested more than {_DEEPEST} levels deep.", event.start_mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > _LONGEST_NUMBER:
            raise _RefusedError(
                f"this is not valid YAML: Exceeds the limit of {_LONGEST_NUMBER} digits.",
                node.start_mark,
            )
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise _RefusedError(f"this is not valid YAML: {error}.", node.start_mark) from error
        except (LookupError, AttributeError) as error:  # PyYAML does not check tagged values.
            raise _RefusedError(
                f"this is not valid YAML: the value does not fit the tag {node.tag}.",
                node.start_mark,
            ) from error


def _refuse_repeated_keys(root: yaml.Node) -> None:
    for node in _nodes(root):
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _RefusedError("A key has to be a word.", key.start_mark)
            if key.value in seen:
                raise _RefusedError(
                    f"{key.value} is there twice, first in line {seen[key.value]}.", key.start_mark
                )
            seen[key.value] = key.start_mark.line + 1


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    yield node
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _nodes(value)
