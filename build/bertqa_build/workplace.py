"""The folder of a build: room on the disk, and one build of a recipe at a time in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import FOR_EVER, acquire, file_lock, holder_of
from bertqa_build.errors import BuildError
from bertqa_build.processes import is_first
from bertqa_build.recipe import Recipe
from bertqa_build.training import KEPT_CHECKPOINTS

_EXPORTS = 2
"""IR and ONNX."""
_OF_CHECKPOINT = 3
"""How often a training's checkpoint holds the model: its weights and AdamW's two moments."""
_INT8_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Room:
    """The bytes that a build takes on disk at most.

    Attributes:
        work: Those of unfinished work.
        repository: Those of what is published.
    """

    work: int
    repository: int


def room_of(recipe: Recipe, model: PreTrainedModel) -> Room:
    """Return how much a build takes on disk.

    Args:
        recipe: What is built.
        model: The model that it is built of.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    pruning = recipe.pruning
    pruned = 0 if pruning is None else len(pruning.speedup)
    steps = max(pruned, pruning.steps) if pruning and pruning.epochs else pruned
    # Each of these has the model that it ends with, and a step of a pruning one to train from too.
    times = {"finetune": 1, "pruning": steps, "qat": 1 + pruned}
    work = sum(times[name] * (KEPT_CHECKPOINTS * _OF_CHECKPOINT + 1) for name in recipe.trainings)
    work += steps + _EXPORTS * (2 if recipe.makes_int8 else 1) * (1 + pruned)
    published = _EXPORTS * (1 + (_INT8_SHARE if recipe.makes_int8 else 0)) * (1 + pruned)
    return Room(work * size, round(published * size))


def require_room(room: Room, work: Path, repository: Path) -> None:
    """Refuse a disk that has too little room for a build, or is read-only; nothing is written.

    Args:
        room: What the build takes.
        work: Where unfinished work is kept; it need not exist.
        repository: Where versions are published; likewise.

    Raises:
        BuildError: There is too little room, or nothing may be written.
    """
    for path in (work, repository):
        if not os.access(_present(path), os.W_OK | os.X_OK):
            raise BuildError(
                f"{path} cannot be written: its disk is read-only, or permission is denied. Choose "
                "another directory with --work-dir or --repository."
            )
    places = {_present(work): room.work}
    present = _present(repository)
    same = next((each for each in places if each.stat().st_dev == present.stat().st_dev), present)
    places[same] = places.get(same, 0) + room.repository
    for folder, needed in places.items():
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise BuildError(
                f"The disk of {folder} has {free / 1e6:.0f} MB free, and a build of this "
                f"checkpoint takes up to {needed / 1e6:.0f} MB. Free some space, or choose other "
                "directories with --work-dir and --repository."
            )


def _present(path: Path) -> Path:
    """Return the directory that is there, of a path and those that it is in."""
    found = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not found.is_dir():
        raise BuildError(f"{path} cannot be a directory: {found} is a file.")
    return found


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
