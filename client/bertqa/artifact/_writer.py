"""The one writer of a model repository: one lock and one work folder for all that write.

`build` and `publish` add versions, `serve` completes `config.json`, `switch` edits it and publishes
the split. All that is unfinished lies in `<root>/.bert-qa/`, on the same file system, where OVMS
never looks (it reads a directory called `2.tmp` as version 2), and appears by a rename. The system
drops the lock when its holder dies; the next writer completes or removes what was left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact._arrivals import Arrival, Draft
from bertqa.artifact._files import (
    DIRECTORY_MODE,
    failure_of,
    make_readable,
    naming,
    sha256_of,
    write_whole,
)
from bertqa.artifact._lock import acquire, file_lock, holder_of
from bertqa.artifact._manifest import MANIFEST_FILE
from bertqa.artifact._numbers import NumberRecord
from bertqa.artifact._ovms_config import OvmsConfig
from bertqa.artifact._repository import Repository
from bertqa.artifact._signature import SIGNATURE_FILE, SigningKey
from bertqa.artifact._work_folder import WorkFolder, require_kind
from bertqa.errors import RepositoryBusyError, RepositoryError

WAIT_SECONDS = 600.0


class RepositoryWriter:
    """The right to write to a repository, for the length of a `with` block.

    On entry, what a writer that died left behind is completed or removed. A failure, also one of
    the system, is a RepositoryError, and leaves nothing behind.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        wait_seconds: float = WAIT_SECONDS,
        on_progress: OnProgress = ignore,
    ) -> None:
        """Prepare a writer; nothing is touched before the block begins.

        Args:
            repository: The repository; its directory is created if missing.
            wait_seconds: How long to wait for another writer; 0 is not at all.
            on_progress: Called when there is another writer to wait for.
        """
        self.repository = repository
        self._wait_seconds = wait_seconds
        self._on_progress = on_progress
        self._work = WorkFolder(repository)
        self._lock = file_lock(self._work.lock)

    def __enter__(self) -> Self:
        """Take the lock and settle what another writer left.

        Raises:
            RepositoryBusyError: Another process writes, and did not end in time.
            RepositoryError: The repository cannot be written, or its file system has no locks.
        """
        with self._explained():
            self._work.check()
            made: list[Path] = []
            try:
                made += filter(_make, (self.repository.root, self._work.path))
                self._acquire()
            except OSError:
                for path in reversed(made):
                    with contextlib.suppress(OSError):
                        path.rmdir()
                raise
        try:
            with self._explained():
                self._work.settle()
                self._numbers = NumberRecord(self.repository, self._work.numbers)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Settle what the block left unfinished, and drop the lock."""
        try:
            with contextlib.suppress(OSError):
                self._work.settle()
        finally:
            self._lock.release()

    def reserve_switching(self) -> FileLock:
        """Take the right to switch, so that it outlives the block: others may write meanwhile.

        Returns:
            A lock that is held, to be released; the system drops it when its holder dies.

        Raises:
            RepositoryBusyError: Another process switches.
            RepositoryError: The lock cannot be taken.
        """
        lock = file_lock(self._work.switch_lock)
        with self._explained():
            try:
                acquire(lock, 0, lambda: None)
            except Timeout as error:
                raise RepositoryBusyError(
                    f"Another switch is under way in {self.repository.root}: nothing was changed. "
                    f"It is that of {holder_of(self._work.switch_lock)}. Run the same command "
                    "again when it has ended."
                ) from error
        return lock

    def next_number(self, *models: str) -> int:
        """Return the number of the next version: one above the highest that was ever used.

        Args:
            *models: The models that share the number, such as an IR and its ONNX twin.
        """
        return self._numbers.next(*models)

    def require_own_number(self, model: str, version: int, manifest_sha256: str) -> None:
        """Refuse a number that another version had here, also if that was deleted since.

        Args:
            model: The model's name.
            version: The number.
            manifest_sha256: The digest of the manifest of the version that is to have it.

        Raises:
            RepositoryError: The number was used for a version with another manifest, or the model's
                directory is a symbolic link or a file.
        """
        self._require_directory(model)
        if self._numbers.other_owner(model, version, manifest_sha256):
            raise RepositoryError(
                f"The number {version} of {model} was used for another version in "
                f"{self.repository.root}, and no number is used twice. Nothing was changed."
            )

    def publish(self, drafts: Sequence[Draft], key: SigningKey | None = None) -> int:
        """Publish one version in all its formats, under one new number.

        Args:
            drafts: The formats, in the order in which they appear, such as ONNX and then IR.
            key: What their manifests are signed with, if they are.

        Returns:
            The number.

        Raises:
            RepositoryError: A file cannot be read, or the repository not be written. No version
                appeared.
        """
        models = [draft.manifest.model for draft in drafts]
        for model in models:
            self._require_directory(model)
        version = self.next_number(*models)
        published = datetime.now(UTC).isoformat(timespec="seconds")
        arrivals = []
        for draft in drafts:
            model = draft.manifest.model
            staged = self.stage(f"{model}-{version}")
            with self._explained():
                for name, source in draft.files.items():
                    shutil.copyfile(source, staged / name)
                manifest = replace(
                    draft.manifest,
                    version=version,
                    published=published,
                    files={name: sha256_of(staged / name) for name in draft.files},
                )
                _write(staged / MANIFEST_FILE, manifest.to_json())
                if key is not None:
                    _write(staged / SIGNATURE_FILE, key.signature_of(staged / MANIFEST_FILE))
            arrivals.append(Arrival(staged, model, version))
        self.appear(arrivals)
        return version

    def stage(self, name: str, texts: Mapping[str, str] | None = None) -> Path:
        """Make a directory for files that are not to be seen yet.

        Args:
            name: The directory's name; it is removed when the block ends.
            texts: Small text files to put there, by their names.

        Returns:
            Its path.

        Raises:
            RepositoryError: It cannot be written.
        """
        staged = self._work.staged / name
        with self._explained():
            staged.mkdir(parents=True)
            for file, text in (texts or {}).items():
                _write(staged / file, text)
        return staged

    def stage_copy(self, name: str) -> Path:
        """Make or find a directory for a copy that may be interrupted and resumed.

        Args:
            name: The version as `<model>-<number>-<digest>`. Another name is another copy.

        Returns:
            Its path, with the files that an interrupted run left. It is kept when the block ends.

        Raises:
            RepositoryError: It cannot be made.
        """
        copy = self._work.copies / name
        with self._explained():
            copy.mkdir(parents=True, exist_ok=True)
        return copy

    def appear(self, arrivals: Sequence[Arrival]) -> None:
        """Let staged versions appear, all or none.

        Their numbers are on the disk before. A writer that is killed in between is completed by
        the next one.

        Args:
            arrivals: The versions, in the order in which they appear; when the last one is there,
                all are. Nothing happens where there are none.

        Raises:
            RepositoryError: A version is there already, or the repository cannot be written.
        """
        if not arrivals:
            return
        with self._explained():
            for each in arrivals:
                self._require_directory(each.model)
                target = self.repository.version_dir(each.version, each.model)
                if os.path.lexists(target):
                    raise RepositoryError(
                        f"{target} is there already: a published version is never overwritten."
                    )
                make_readable(each.staged)
                self._numbers.enter(each.model, each.version, each.staged / MANIFEST_FILE)
            self._numbers.save(self._work.path)
            self._work.carry_out([(each.staged, each.model, each.version) for each in arrivals])

    def replace_config(self, read: OvmsConfig, text: str) -> OvmsConfig:
        """Write a `config.json`, unless another program has changed it since it was read.

        Args:
            read: The file as it was read or written last; its `text` is what has to be there.
            text: The new text.

        Returns:
            What the file says now.

        Raises:
            ConfigChangedError: The file is not as it was read. It is left as it is; `detail` shows
                the difference.
            RepositoryError: It cannot be written.
        """
        read.require_unchanged()
        self.write(read.path, text)
        return OvmsConfig.read(read.path)

    def write(self, path: Path, text: str) -> None:
        """Write a small text file of the repository whole.

        Args:
            path: The file. A symbolic link stays one: the file that it points at is replaced.
            text: What it is to hold.

        Raises:
            RepositoryError: It cannot be written.
        """
        target = Path(os.path.realpath(path))
        inside = target.is_relative_to(self.repository.root.resolve())
        with self._explained():
            write_whole(target, text, staging=self._work.path if inside else None)

    def delete(self, version: int, *models: str) -> None:
        """Delete a version in all its formats; its number is never given out again.

        Args:
            version: The number.
            *models: The models that share the number, in the order in which they disappear, such as
                an ONNX twin and then the IR. Nothing happens for one that does not have it.

        Raises:
            RepositoryError: It cannot be deleted. Run again, the rest of it goes.
        """
        for model in models:
            self._require_directory(model)
            self._numbers.enter_present(model)
        with self._explained():
            self._numbers.save(self._work.path)
        for model in models:
            directory = self.repository.version_dir(version, model)
            if directory.is_dir():
                self.remove(directory)

    def remove(self, directory: Path) -> None:
        """Remove a version's directory: it disappears whole.

        Args:
            directory: The directory.

        Raises:
            RepositoryError: It cannot be removed.
        """
        with self._explained():
            self._work.discard(directory)

    def _require_directory(self, model: str) -> None:
        """Refuse a model whose directory is a link or a file: a rename would leave the root."""
        require_kind(self.repository.root / model, directory=True)

    def _acquire(self) -> None:
        root, seconds = self.repository.root, self._wait_seconds

        def on_wait() -> None:
            waiting = f"Waiting for another process that writes to {root}"
            self._on_progress(Progress(waiting, note=holder_of(self._work.lock)))

        try:
            acquire(self._lock, seconds, on_wait)
        except Timeout as error:
            waited = f" for {seconds:g} s" if seconds else ""
            raise RepositoryBusyError(
                f"Another process (a build, publish or switch) writes to {root}{waited}: nothing "
                f"was changed. The lock is held by {holder_of(self._work.lock)}. Run the same "
                "command again when it has ended."
            ) from error

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeEncodeError) as error:
            raise RepositoryError(
                f"{failure_of(error, self.repository.root)}. What was published before is as it "
                "was."
            ) from error


def settle(repository: Repository) -> None:
    """Complete or remove what a writer that was killed had begun to let appear.

    Nothing is locked where there is nothing of that kind; where another process writes, or the
    repository cannot be written, it is left as it is.

    Args:
        repository: The repository.
    """
    if WorkFolder(repository).is_interrupted():
        with contextlib.suppress(RepositoryError), RepositoryWriter(repository, wait_seconds=0):
            pass


def _write(path: Path, text: str) -> None:
    with naming(path):
        path.write_text(text, encoding="utf-8")


def _make(directory: Path) -> bool:
    """Make a directory with its parents, readable for all; return False where it is there."""
    if directory.is_dir():
        return False
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(DIRECTORY_MODE)
    return True
