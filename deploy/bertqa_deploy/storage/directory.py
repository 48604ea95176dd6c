"""A directory as the target: a version is copied beside the models and appears by a rename."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bertqa._progress import OnProgress, Progress
from bertqa.artifact import (
    MANIFEST_FILE,
    SIGNATURE_FILE,
    WAIT_SECONDS,
    Arrival,
    Repository,
    RepositoryWriter,
    failure_of,
    naming,
    open_regular,
    remove_path,
)
from bertqa_deploy.errors import StorageError, VersionExistsError
from bertqa_deploy.storage.version import CHUNK_BYTES, VersionFiles, digest_of

_SIGNATURE = [SIGNATURE_FILE]
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Directory:
    """The root of a repository in a file system."""

    def __init__(self, root: Path, *, wait_seconds: float = WAIT_SECONDS) -> None:
        """Name the target.

        Args:
            root: The directory; it is created if it does not exist.
            wait_seconds: How long to wait for another process that writes there.
        """
        self.root = root
        self._wait_seconds = wait_seconds
        self._repository = Repository(root)

    def take(self, parts: Sequence[VersionFiles], on_progress: OnProgress) -> list[list[str]]:
        """Copy what is missing, verify it, and let the version appear in all its formats at once.

        What was copied and verified before an interruption is not copied again. A signature is
        added to a version that is there without. Where everything is there already, nothing is
        locked or written.

        Args:
            parts: The formats of one version, in the order in which they appear.
            on_progress: Called with the bytes of each file that are copied or read back.

        Returns:
            The names of the files that were copied now, for each of the parts.

        Raises:
            VersionExistsError: Another version or file is there. Nothing was changed.
            RepositoryError: The directory cannot be written, or another process writes to it.
            StorageError: A file is not what was written.
        """
        if not any(self._lacking(part, on_progress) for part in parts):
            return [[] for _ in parts]
        with RepositoryWriter(
            self._repository, wait_seconds=self._wait_seconds, on_progress=on_progress
        ) as writer:
            # What was there before the lock may be gone: the half of a killed writer is removed.
            lacking = [self._lacking(part, on_progress) for part in parts]
            unsigned = [
                part for part, names in zip(parts, lacking, strict=True) if names == _SIGNATURE
            ]
            absent = [
                part
                for part, names in zip(parts, lacking, strict=True)
                if names and part not in unsigned
            ]
            for part in absent:
                writer.require_own_number(part.model, part.version, part.digests[MANIFEST_FILE])
            copies = {part.model: writer.stage_copy(part.identity) for part in absent}
            with self._explained(list(copies.values())):
                copied = {
                    part.model: _copy_missing(part, copies[part.model], on_progress)
                    for part in absent
                }
            writer.appear(
                [Arrival(copies[each.model], each.model, each.version) for each in absent]
            )
            for part in unsigned:
                text = (part.source / SIGNATURE_FILE).read_text(encoding="utf-8")
                writer.write(self._target(part) / SIGNATURE_FILE, text)
                copied[part.model] = _SIGNATURE
        return [copied.get(part.model, []) for part in parts]

    def _target(self, part: VersionFiles) -> Path:
        return self._repository.version_dir(part.version, part.model)

    def _lacking(self, part: VersionFiles, on_progress: OnProgress) -> list[str]:
        """Return what of a part is not there: all of it, nothing, or its signature alone."""
        target = self._target(part)
        with self._explained([]):
            if target.is_symlink() and not target.exists():
                raise VersionExistsError(
                    f"{target} is a symbolic link to {target.readlink()}, which does not exist. "
                    "Remove it first. Nothing was changed."
                )
            if not target.exists():
                return list(part.digests)
            sizes = {path.name: path.stat().st_size for path in target.iterdir()}
            missing = part.missing(
                str(target), sizes, lambda name: _read_back(part, target, name, on_progress)
            )
        if missing and missing != _SIGNATURE:
            raise VersionExistsError(
                f"{target} is there without {missing[0]}: this command did not make it. Remove it "
                "first. Nothing was changed."
            )
        return missing

    @contextmanager
    def _explained(self, copies: Sequence[Path]) -> Iterator[None]:
        """Explain an OSError, and leave nothing of unfinished copies on a disk that is full."""
        try:
            yield
        except OSError as error:
            if error.errno in _NO_ROOM:
                for copy in copies:
                    shutil.rmtree(copy, ignore_errors=True)
            raise StorageError(
                f"{failure_of(error, self.root)}. No version appeared there. Run the same command "
                "again to resume."
            ) from error


def _copy_missing(part: VersionFiles, copy: Path, on_progress: OnProgress) -> list[str]:
    """Copy the files of which there is no verified copy yet, and return their names."""
    for path in copy.iterdir():
        if path.name not in part.digests or path.is_symlink() or not path.is_file():
            remove_path(path)
    names = [
        name
        for name, digest in part.digests.items()
        if not (copy / name).is_file() or _read_back(part, copy, name, on_progress) != digest
    ]
    for name in names:
        _copy(part, copy, name, on_progress)
        if _read_back(part, copy, name, on_progress) != part.digests[name]:
            raise StorageError(
                f"{copy / name} is not what was written there: is the disk sound? Run the same "
                "command again to copy it anew."
            )
    return names


def _copy(part: VersionFiles, copy: Path, name: str, on_progress: OnProgress) -> None:
    total, done = part.size(name), 0
    with (
        open_regular(part.source / name) as source,
        naming(copy / name),
        (copy / name).open("wb") as target,
    ):
        while chunk := source.read(CHUNK_BYTES):
            done += target.write(chunk)
            on_progress(Progress(f"Sending {part.path}/{name}", done, total, "bytes"))
        target.flush()
        os.fsync(target.fileno())


def _read_back(part: VersionFiles, directory: Path, name: str, on_progress: OnProgress) -> str:
    stage, total = f"Reading back {part.path}/{name}", part.size(name)
    with open_regular(directory / name) as file:
        return digest_of(file, lambda done: on_progress(Progress(stage, done, total, "bytes")))
