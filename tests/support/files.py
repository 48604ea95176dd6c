"""Directories that cannot be written, also where the tests run as root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def unwritable(root: Path) -> Iterator[None]:
    """Take away the right to write below `root`, for the length of the block.

    Root may write everywhere, so there the block runs as another user, who may read all.
    """
    modes = {path: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    parents = {path: path.stat().st_mode & 0o777 for path in root.parents if path.owner() == "root"}
    for path, mode in modes.items():
        path.chmod((mode | 0o555 if path.is_dir() else mode | 0o444) & ~0o222)
    for path, mode in parents.items():
        if mode & 0o011 != 0o011:
            path.chmod(mode | 0o011)
    user = os.geteuid()
    if user == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, mode in {**modes, **parents}.items():
            if path.exists():
                path.chmod(mode)
