"""Keeping libraries' notes, warnings and progress bars off the console during a build."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

# Loggers are named here that nncf and transformers must have made themselves, with their defaults.
import nncf  # noqa: F401
import rich
from transformers.utils import logging as transformers_logging

from bertqa._quiet import muted

_LOGGERS = ("nncf", "optimum", "torch.utils._pytree", "torchao", "transformers")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers, NNCF, Optimum, torchao and torch's tracer during the block.

    Errors still come as exceptions. The standard streams are left alone. The first import of
    transformers' models belongs into such a block too: torchao, which comes with them, reports
    each kernel that it cannot load.
    """
    with muted(*_LOGGERS), warnings.catch_warnings(), _without_bars():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    console = rich.get_console()  # where NNCF draws its bars, for which it has no switch
    was_quiet, had_bars = console.quiet, transformers_logging.is_progress_bar_enabled()
    console.quiet = True
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        console.quiet = was_quiet
        if had_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
