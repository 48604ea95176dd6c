"""Changing parts of bytes and of JSON values, as a list of edits says."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any


def edited_bytes(data: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Return bytes in which stretches are replaced.

    Args:
        data: The bytes.
        edits: For each one a place, how many bytes go, and what comes instead.
    """
    edited = bytearray(data)
    for place, length, instead in edits:
        begin = place % (len(edited) + 1)
        edited[begin : begin + length] = instead
    return bytes(edited)


def edited_tree(tree: Any, edits: Sequence[tuple[int, bool, Any]]) -> Any:
    """Return a JSON value in which parts are removed or replaced.

    Args:
        tree: The value, which is left as it is.
        edits: For each one a place, whether the part there is removed, and what comes instead.
    """
    edited = copy.deepcopy(tree)
    for place, removes, instead in edits:
        parts = list(_parts(edited))
        if not parts:
            return instead
        holder, key = parts[place % len(parts)]
        if removes:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(instead)
    return edited


def _parts(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = ()
    if isinstance(tree, dict):
        keys = list(tree)
    elif isinstance(tree, list):
        keys = range(len(tree))
    for key in keys:
        yield tree, key
        yield from _parts(tree[key])
