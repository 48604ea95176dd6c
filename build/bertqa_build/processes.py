"""The processes of one build that torchrun started: all of them train, and the first one writes."""

from __future__ import annotations

import functools
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from bertqa._reason import reason_of
from bertqa.errors import BertQAError, QualityGateError
from bertqa_build.errors import (
    BuildError,
    PartlyRefusedError,
    RefusedElsewhereError,
    StoppedElsewhereError,
)

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
"""How long the others wait for the first process, which may evaluate for hours."""
_SIGHT_SECONDS = 65.0
"""How long NFS may hide a new file from another machine: a minute by default."""
_LOOK_SECONDS = 0.5
_SPEAKING_SECONDS = 10.0
_OF_A_CONNECTION = ("gloo", "connection", "nccl", "peer", "socket")


def count() -> int:
    """Return how many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return int(os.environ.get("RANK", "0"))


def machines() -> int:
    """Return on how many machines torchrun started the processes, as many on each."""
    return count() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", str(count()))))


def is_first() -> bool:
    """Return whether this process is the one that writes, publishes and reports."""
    return rank() == 0


def is_first_here() -> bool:
    """Return whether this process is the first one on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def from_first(make: Callable[[], T]) -> T:
    """Call a function in the first process alone, and return what it returned in all of them.

    Args:
        make: What is called; what it returns can be pickled.

    Returns:
        What it returned in the first process, for which the others wait.

    Raises:
        StoppedElsewhereError: This is not the first process, and in that one it raised an error;
            or another process ended.
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


def from_each(make: Callable[[], T]) -> T:
    """Call a function in the first process, then in the others; what fails in one stops all.

    Args:
        make: What is called.

    Returns:
        What it returned in this process.

    Raises:
        BertQAError: In the first process: what `make` raised there.
        BuildError: Likewise: what it raised in another process, with the name of its machine.
        StoppedElsewhereError: In the others.
    """
    made: list[T] = []
    from_first(lambda: made.append(make()))
    failed: str | None = None
    if not is_first():
        try:
            made.append(make())
        except (BertQAError, OSError) as error:
            failed = str(error) if isinstance(error, BertQAError) else reason_of(error)
    _stop_where_one_failed(failed)
    return made[0]


def require_alike(parts: Mapping[str, object]) -> None:
    """Refuse processes that would not build the same, such as those of machines that differ.

    Args:
        parts: What has to be alike in all processes, by its name; it can be pickled.

    Raises:
        BuildError: In the first process: something differs in another one.
        StoppedElsewhereError: In the others.
    """
    own = dict(parts)
    firsts = from_first(lambda: own)
    differing = [name for name, value in firsts.items() if own[name] != value]
    _stop_where_one_failed(
        f"Its {differing[0]} differs from what the first process has. All machines need the same "
        "recipe, data, checkpoint and packages; and to prune, CPUs that are alike or a "
        "pruning.latency_table."
        if differing
        else None
    )


def require_shared(folder: Path) -> None:
    """Refuse a folder that the machines of a build do not share.

    Args:
        folder: The folder, by its path in this process; the first process has made it.

    Raises:
        BuildError: In the first process: another one does not see what is written there.
        StoppedElsewhereError: In the others.
    """
    if machines() == 1:
        return
    mark = f".seen-{from_first(lambda: uuid.uuid4().hex)}"
    from_first((folder / mark).touch)
    try:
        seen = _appears(folder / mark)
        _stop_where_one_failed(
            None
            if seen
            else f"It does not see in {folder.absolute()} what the first process writes in its "
            "work directory. All machines of a build share one: name it with --work-dir, on a file "
            "system that each of them mounts."
        )
    finally:
        if is_first():
            (folder / mark).unlink(missing_ok=True)


def let_first_speak() -> None:
    """Wait until the first process of the machine has had the time to report what all of them met.

    torchrun ends all processes as soon as one has ended, also the one that speaks for the others.
    """
    time.sleep(_SPEAKING_SECONDS)


def refusal(reason: str, unpruned: int | None = None) -> QualityGateError:
    """Return the error of versions that the gate refused in all processes.

    Args:
        reason: Why, which the first process alone reports.
        unpruned: The number of the FP32 version that others were pruned from, which are published.
    """
    if not is_first():
        return RefusedElsewhereError(reason)
    return QualityGateError(reason) if unpruned is None else PartlyRefusedError(reason, unpruned)


@contextmanager
def connected() -> Iterator[None]:
    """Let a block in which processes exchange gradients end with a sentence where one has gone.

    Raises:
        StoppedElsewhereError: Another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if count() == 1 or not any(word in str(error).lower() for word in _OF_A_CONNECTION):
            raise
        raise StoppedElsewhereError(
            "Another process of this build has ended, and reports why where it ran. Start all of "
            "them again to resume.",
            detail=str(error),
        ) from error


def _stop_where_one_failed(reason: str | None) -> None:
    """Stop all processes where one has a reason to, which the first one reports."""
    if count() == 1:
        return
    own = None if reason is None else f"Process {rank()} of this build, on {socket.gethostname()}"
    found = [each for each in _gathered((own, reason)) if each[1] is not None]
    if not found:
        return
    who, why = found[0]
    if is_first():
        raise BuildError(f"{who}, cannot take part in it. {why}")
    raise StoppedElsewhereError("A process of this build cannot take part, and the first says why.")


def _appears(path: Path) -> bool:
    """Return whether a file is there, or appears soon."""
    end = time.monotonic() + _SIGHT_SECONDS
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _broadcast(box: list[Any]) -> None:
    from torch import distributed  # Which one process, and a wrong recipe, do without.

    with connected():
        distributed.broadcast_object_list(box, src=0, group=_group())


def _gathered(value: T) -> list[T]:
    from torch import distributed

    found: list[Any] = [None] * count()
    with connected():
        distributed.all_gather_object(found, value, group=_group())
    return found


@functools.cache
def _group() -> Any:
    import torch
    from accelerate import PartialState
    from torch import distributed

    PartialState(cpu=not torch.cuda.is_available())
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)
