"""Keeping what libraries log off the console while they work."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def muted(*loggers: str) -> Iterator[None]:
    """Drop what loggers record below CRITICAL during the block; errors still come as exceptions.

    Args:
        *loggers: Their names, such as `azure`; the loggers below them are muted too, also those
            that have a level of their own.
    """
    below = tuple(f"{name}." for name in loggers)
    own = [
        each
        for name, each in list(logging.root.manager.loggerDict.items())
        if name.startswith(below) and isinstance(each, logging.Logger) and each.level
    ]
    with ExitStack() as levels:
        for logger in (*map(logging.getLogger, loggers), *own):
            levels.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        yield
