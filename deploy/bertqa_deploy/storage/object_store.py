"""A store as the place: objects are whole or absent, but a directory has no rename.

So the order matters: the model's file is sent last, when everything else is there and has been
read back. Whoever looks meanwhile finds a directory without a model, or a whole version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from bertqa._progress import OnProgress, Progress
from bertqa.errors import BertQAError
from bertqa_deploy.errors import PlaceError
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.stores import STORES, Failure, failure_of, hush
from bertqa_deploy.storage.version import (
    CHUNK_BYTES,
    VersionFiles,
    digest_of,
    taken,
)

ANSWER_SECONDS = 45.0


class ObjectStore:
    """The root of a repository in a container or bucket.

    The first look has to be answered within `answer_seconds`. Raises PlaceError where there are no
    credentials, and ModuleNotFoundError where the store's extra is not installed.
    """

    def __init__(self, address: Address, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self.address = address
        self._store = STORES[address.scheme]
        self._answer_seconds = answer_seconds
        hush()
        with self._explained():
            self._filesystem = self._store.open()

    def missing(self, files: VersionFiles, on_progress: OnProgress) -> list[str]:
        """Name the files that have to be sent. Raises TakenError and PlaceError."""
        from fsspec.asyn import sync

        directory = self._path(files)
        with self._explained():
            found = sync(
                self._filesystem.loop,
                self._filesystem._find,
                directory,
                detail=True,
                timeout=self._answer_seconds,
            )
            sizes = {
                str(PurePosixPath(path).relative_to(directory)): info["size"]
                for path, info in found.items()
                if not path.endswith("/")
            }
            return files.missing(
                f"{self.address}/{files.path}",
                sizes,
                lambda name: self._read_back(files, name, on_progress),
            )

    def send(self, files: VersionFiles, names: list[str], on_progress: OnProgress) -> None:
        """Send and verify these files, one after the other. Raises as `missing` does."""
        for name in names:
            with self._explained():
                self._send(files, name, on_progress)

    def _send(self, files: VersionFiles, name: str, on_progress: OnProgress) -> None:
        path, total = self._path(files, name), files.size(name)
        created = True
        try:
            self._filesystem.put_file(
                str(files.source / name),
                path,
                mode="create",
                callback=_callback(f"Sending {files.path}/{name}", total, on_progress),
                **self._store.sending,
            )
        except FileExistsError:
            created = False  # Somebody else's, or our own of which the answer got lost.
        if self._read_back(files, name, on_progress) == files.digests[name]:
            return
        where = f"{self.address}/{files.path}/{name}"
        if not created:
            raise taken(where)
        self._filesystem.rm_file(path)
        raise PlaceError(
            f"{where} did not arrive as it was sent and was taken away again. The same command "
            "goes on from here."
        )

    def _read_back(self, files: VersionFiles, name: str, on_progress: OnProgress) -> str:
        total = files.size(name)
        with self._filesystem.open(
            self._path(files, name), "rb", block_size=CHUNK_BYTES, cache_type="none"
        ) as file:
            return digest_of(
                file,
                lambda done: on_progress(
                    Progress(f"Reading back {files.path}/{name}", done, total, "bytes")
                ),
            )

    def _path(self, files: VersionFiles, *name: str) -> str:
        return "/".join((self.address.path, files.path, *name))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (BertQAError, ModuleNotFoundError):
            raise
        except Exception as error:
            raise self._explanation(error) from error

    def _explanation(self, error: Exception) -> PlaceError:
        where, store = self.address, self._store
        match failure_of(error):
            case Failure.NO_CREDENTIALS:
                message = f"There are no credentials for {where}: {store.credentials}."
            case Failure.DENIED:
                message = (
                    f"{where} does not let you in: the credentials are wrong, or may not list, "
                    f"read and write there."
                )
            case Failure.NO_CONTAINER:
                message = (
                    f"There is no {store.container} {where.container!r}, or it was taken away: "
                    "make it first."
                )
            case Failure.UNREACHABLE:
                message = f"Cannot connect to {where}. Run the same command again to resume."
            case Failure.OTHER:
                return PlaceError(f"{where} cannot be used: {_first_line(error)}")
        return PlaceError(message, detail=_first_line(error))


def _callback(stage: str, total: int, on_progress: OnProgress) -> Any:
    from fsspec.callbacks import Callback

    class Bar(Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            on_progress(Progress(stage, min(self.value, total), total, "bytes"))

    return Bar(size=total)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
