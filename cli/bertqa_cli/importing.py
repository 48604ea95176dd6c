"""Importing what takes long."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from bertqa_cli.interrupts import noted


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let the block import without garbage collection.

    What is imported stays: to look through all of it again and again takes a quarter of the time
    that PyTorch, Transformers and NNCF take.

    Raises:
        KeyboardInterrupt: There was a Ctrl-C meanwhile, if only for a library that swallowed it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
    if noted:
        raise KeyboardInterrupt
