"""An object store as the target: objects are whole or absent, but a directory has no rename.

So the order matters: the model's file is sent last, when everything else is there and has been
read back. A server that looks meanwhile finds a directory without a model, or a whole version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from bertqa._progress import OnProgress, Progress
from bertqa.errors import BertQAError
from bertqa_deploy.errors import StorageError
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.stores import STORES, Failure, failure_of, silence_loggers
from bertqa_deploy.storage.version import CHUNK_BYTES, VersionFiles, digest_of, version_exists

ANSWER_SECONDS = 45.0


class ObjectStore:
    """The root of a repository in a container or bucket."""

    def __init__(self, address: Address, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Open a store with the credentials and the endpoint that the environment names.

        Args:
            address: A container or bucket, with a path where there is one.
            answer_seconds: The time within which the store has to answer the first request.

        Raises:
            StorageError: There are no credentials, or the environment names something invalid.
            ModuleNotFoundError: The store's extra is not installed.
        """
        self.address = address
        self._store = STORES[address.scheme]
        self._answer_seconds = answer_seconds
        silence_loggers()
        with self._translated_errors():
            self._filesystem = self._store.open()

    def missing(self, files: VersionFiles, on_progress: OnProgress) -> list[str]:
        """Compare a version with what the store holds.

        Args:
            files: The version.
            on_progress: Called with the bytes of each file that is read back.

        Returns:
            The names of the files that have to be sent, in the order in which to send them.

        Raises:
            VersionExistsError: The store holds another file, or one that the version does not have.
            StorageError: The store cannot be reached or read.
        """
        from fsspec.asyn import sync

        directory = self._path(files)
        with self._translated_errors():
            found = sync(
                self._filesystem.loop,
                self._filesystem._find,
                directory,
                detail=True,
                timeout=self._answer_seconds,
            )
            sizes = {
                str(PurePosixPath(path).relative_to(directory)): int(info["size"])
                for path, info in found.items()
                if not path.endswith("/")
            }
            return files.missing(
                f"{self.address}/{files.path}",
                sizes,
                lambda name: self._read_back(files, name, on_progress),
            )

    def send(self, files: VersionFiles, names: list[str], on_progress: OnProgress) -> None:
        """Send files one after the other, and read each back before the next.

        Args:
            files: The version.
            names: What `missing` returned.
            on_progress: Called with the bytes that are sent and read back.

        Raises:
            VersionExistsError: Another file appeared in the store meanwhile.
            StorageError: The store cannot be reached or written, or a file arrived damaged; a
                damaged file is removed.
        """
        for name in names:
            with self._translated_errors():
                self._send(files, name, on_progress)

    def _send(self, files: VersionFiles, name: str, on_progress: OnProgress) -> None:
        path, total = self._path(files, name), files.size(name)
        progress = Progress(f"Sending {files.path}/{name}", 0, total, "bytes")
        created = True
        try:
            self._filesystem.put_file(
                str(files.source / name),
                path,
                mode="create",
                callback=_callback(progress, on_progress),
                **self._store.put_options,
            )
            on_progress(replace(progress, done=total))
        except FileExistsError:
            created = False  # Another's file, or ours, and the store's answer was lost.
        if self._read_back(files, name, on_progress) == files.digests[name]:
            return
        where = f"{self.address}/{files.path}/{name}"
        if not created:
            raise version_exists(where)
        self._filesystem.rm_file(path)
        raise StorageError(
            f"{where} did not arrive as it was sent and was removed. Run the same command again to "
            "resume."
        )

    def _read_back(self, files: VersionFiles, name: str, on_progress: OnProgress) -> str:
        stage, total = f"Reading back {files.path}/{name}", files.size(name)
        with self._filesystem.open(
            self._path(files, name), "rb", block_size=CHUNK_BYTES, cache_type="none"
        ) as file:
            return digest_of(file, lambda done: on_progress(Progress(stage, done, total, "bytes")))

    def _path(self, files: VersionFiles, *name: str) -> str:
        return "/".join((self.address.path, files.path, *name))

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (BertQAError, ModuleNotFoundError):
            raise
        except Exception as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> StorageError:
        where, store = self.address, self._store
        match failure_of(error):
            case Failure.NO_CREDENTIALS:
                message = f"There are no credentials for {where}: {store.credentials}."
            case Failure.DENIED:
                message = (
                    f"Access to {where} was denied: the credentials are wrong, or do not allow to "
                    "list, read and write there."
                )
            case Failure.NO_CONTAINER:
                message = (
                    f"There is no {store.container} {where.container!r}, or it was deleted: create "
                    "it first."
                )
            case Failure.UNREACHABLE:
                message = f"Cannot connect to {where}. Run the same command again to resume."
            case Failure.OTHER:
                return StorageError(f"{where} cannot be used: {_first_line(error)}")
        return StorageError(message, detail=_first_line(error))


def _callback(progress: Progress, on_progress: OnProgress) -> Any:
    from fsspec.callbacks import Callback

    class Reporting(Callback):  # type: ignore[misc]
        furthest = 0

        def call(self, *_: Any, **__: Any) -> None:
            # Azure's library counts each of the parts that it sends at once from the same start.
            self.furthest = max(self.furthest, min(self.value, self.size))
            on_progress(replace(progress, done=self.furthest))

    return Reporting(size=progress.total)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
