"""The folder of a build: room on the disk, and one build of a recipe at a time in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedModel

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import FOR_EVER, acquire, file_lock, holder_of
from bertqa_build.errors import BuildError
from bertqa_build.processes import is_first

_COPIES = 4
"""How often a build holds a model on disk at once: IR and ONNX, made and staged."""


def require_room(model: PreTrainedModel, *folders: Path) -> None:
    """Refuse a disk that has too little room for a build.

    Args:
        model: The model that is built.
        *folders: Where files are written; they are made where they do not exist.

    Raises:
        BuildError: One of them has too little room.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < _COPIES * size:
            raise BuildError(
                f"{folder} has {free / 1e6:.0f} MB free, and a build of this checkpoint takes "
                f"up to {_COPIES * size / 1e6:.0f} MB. Free some space, or choose another "
                "directory."
            )


@contextmanager
def alone(folder: Path, name: str, on_progress: OnProgress) -> Iterator[None]:
    """Let one build of a recipe at a time work in its folder; another one waits.

    Args:
        folder: The folder.
        name: The recipe's name.
        on_progress: Called when there is another build to wait for.
    """
    if not is_first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    waiting = f"Waiting for another build of {name} in {folder}"
    lock = file_lock(path)
    acquire(lock, FOR_EVER, lambda: on_progress(Progress(waiting, note=holder_of(path))))
    try:
        yield
    finally:
        lock.release()
