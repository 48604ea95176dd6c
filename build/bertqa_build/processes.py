"""The processes of one build that torchrun started: all of them train, and the first one writes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from bertqa.errors import QualityGateError
from bertqa_build.errors import RefusedElsewhereError, StoppedElsewhereError

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
"""How long the others wait for the first process, which may evaluate for hours."""


def count() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Return whether this process is the one that writes, publishes and reports."""
    return int(os.environ.get("RANK", "0")) == 0


def from_first(make: Callable[[], T]) -> T:
    """Call a function in the first process alone, and return what it returned in all of them.

    Args:
        make: What is called; what it returns can be pickled.

    Returns:
        What it returned in the first process, for which the others wait.

    Raises:
        StoppedElsewhereError: This is not the first process, and in that one it raised an error.
    """
    if count() == 1:
        return make()
    box: list[Any] = [None]
    if is_first():
        try:
            box = [(True, make())]
        except BaseException:
            _broadcast([(False, None)])
            raise
    _broadcast(box)
    done, value = box[0]
    if not done:
        raise StoppedElsewhereError("The first process of this build stopped, and reports why.")
    result: T = value
    return result


def refusal(reason: str) -> QualityGateError:
    """Return the error of a version that the gate refused in all processes.

    Args:
        reason: Why, which the first process alone reports.
    """
    return QualityGateError(reason) if is_first() else RefusedElsewhereError(reason)


def _broadcast(box: list[Any]) -> None:
    from torch import distributed  # Which one process, and a wrong recipe, do without.

    distributed.broadcast_object_list(box, src=0, group=_group())


@functools.cache
def _group() -> Any:
    import torch
    from accelerate import PartialState
    from torch import distributed

    PartialState(cpu=not torch.cuda.is_available())
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)
