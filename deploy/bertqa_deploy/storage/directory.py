"""A directory as the place: a version is staged beside the models and appears by one rename."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import MANIFEST_FILE
from bertqa_deploy.errors import PlaceError, TakenError
from bertqa_deploy.storage.version import (
    CHUNK_BYTES,
    VersionFiles,
    digest_of,
)

STAGING = ".publishing"
_LOCK = "lock"


class Directory:
    """The root of a repository in a file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def missing(self, files: VersionFiles, on_progress: OnProgress) -> list[str]:
        """Name the files that neither are there nor are staged. Raises TakenError, PlaceError."""
        target = self.root / files.path
        with self._explained():
            if not target.exists():
                staged = self._staged(files)
                return [
                    name
                    for name, digest in files.digests.items()
                    if not (staged / name).is_file()
                    or _read_back(files, staged, name, on_progress) != digest
                ]
            sizes = {path.name: path.stat().st_size for path in target.iterdir()}
            missing = files.missing(
                str(target), sizes, lambda name: _read_back(files, target, name, on_progress)
            )
        if missing:
            raise TakenError(
                f"{target} is there without {missing[0]}: it was not put there by this command. "
                "Take it away first. Nothing was changed."
            )
        return []

    def send(self, files: VersionFiles, names: list[str], on_progress: OnProgress) -> None:
        """Copy and verify these files, then let the version appear. Raises as `missing` does."""
        target = self.root / files.path
        if target.exists() and not names:
            return
        staged = self._staged(files)
        with self._explained(), self._alone():
            staged.mkdir(parents=True, exist_ok=True)
            for name in names:
                _copy(files, staged, name, on_progress)
                if _read_back(files, staged, name, on_progress) != files.digests[name]:
                    raise PlaceError(
                        f"{staged / name} is not what was written there: is the disk sound? "
                        "The same command tries again."
                    )
            target.parent.mkdir(exist_ok=True)
            if target.exists():
                raise TakenError(f"{target} appeared meanwhile. Give the same command again.")
            staged.rename(target)
            _sync(target.parent)
            _sync(self.root)

    def _staged(self, files: VersionFiles) -> Path:
        identity = files.digests[MANIFEST_FILE][:12]
        return self.root / STAGING / f"{files.model}-{files.version}-{identity}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who publishes here; the system drops the lock when its holder dies."""
        staging = self.root / STAGING
        staging.mkdir(parents=True, exist_ok=True)
        with (staging / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PlaceError(
                    f"Another publish is under way in {self.root}: nothing was changed."
                ) from error
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PlaceError(
                f"{self.root} cannot be written: {error.strerror or error}. No version appeared "
                "there, and run the same command again to resume."
            ) from error


def _copy(files: VersionFiles, staged: Path, name: str, on_progress: OnProgress) -> None:
    total, done = files.size(name), 0
    with (files.source / name).open("rb") as source, (staged / name).open("wb") as copy:
        while chunk := source.read(CHUNK_BYTES):
            done += copy.write(chunk)
            on_progress(Progress(f"Sending {files.path}/{name}", done, total, "bytes"))
        copy.flush()
        os.fsync(copy.fileno())


def _read_back(files: VersionFiles, directory: Path, name: str, on_progress: OnProgress) -> str:
    stage, total = f"Reading back {files.path}/{name}", files.size(name)
    with (directory / name).open("rb") as file:
        return digest_of(file, lambda done: on_progress(Progress(stage, done, total, "bytes")))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
