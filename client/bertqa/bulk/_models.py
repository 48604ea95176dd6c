"""Which model answers: one of a server, or one that each worker loads from a repository."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from bertqa import _checks, _defaults
from bertqa.artifact import IR_FILE, MODEL_NAME, ONNX_FILE, WEIGHTS_FILE, Repository, sha256_of
from bertqa.artifact._lock import file_lock
from bertqa.bulk._places import absolute, download, is_local, open_system, reaching
from bertqa.client import QAClient
from bertqa.errors import ModelLoadError, RepositoryError, VersionNotFoundError
from bertqa.runtime import load
from bertqa.transport import TLS, Token

_MODEL_FILES = (IR_FILE, WEIGHTS_FILE, ONNX_FILE)
_QUESTION = ("Who wrote it?", "Anna wrote it.")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which model it is, wherever it runs.

    Attributes:
        name: Its name.
        version: Its version.
        digest: Stands for its files, or for the metadata that a server has of it.
        tokenizer: The digest of a tokenizer in place of the model's own, or nothing.
    """

    name: str
    version: int
    digest: str
    tokenizer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model on a server, which all workers ask.

    Attributes:
        url: The address of the server, as each worker reaches it; see `QAClient`.
        model: The name of the model on the server.
        version: The version that answers; None is the server's default when the run begins.
        metadata_url: See `QAClient`.
        tokenizer: A file, a directory or a hub id in place of the model's own.
        timeout: Seconds that a request may take, waiting while the server is full included.
        tls: TLS files, at the same paths on each machine.
        token: A bearer token, or a function that can be pickled and returns the one of now.
        headers: Headers to send with each call.
    """

    url: str
    model: str = MODEL_NAME
    version: int | None = None
    metadata_url: str | None = None
    tokenizer: str | None = None
    timeout: float | None = _defaults.TIMEOUT_SECONDS
    tls: TLS | None = None
    token: Token | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)

    def open(self) -> QAClient:
        """Open a client of it.

        Returns:
            The client, which the caller closes.

        Raises:
            InvalidOptionError: An attribute is not valid.
        """
        return QAClient(
            self.url,
            model=self.model,
            version=self.version,
            metadata_url=self.metadata_url,
            tokenizer=self.tokenizer,
            timeout=self.timeout,
            tls=self.tls,
            token=self.token,
            headers=self.headers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model that each worker loads into its own process, without a server.

    Attributes:
        repository: A model repository in the layout of OVMS: a directory that each machine has at
            the same path, or its address in an object store, from which each machine copies it.
        model: The name of the model in it.
        version: The version; None is the highest one.
        tokenizer: A file, a directory or a hub id in place of the model's own.
        threads: How many threads a worker computes with; None is chosen by the engine that runs the
            workers, so that those of a machine share its cores.
        timeout: Seconds that a request may wait; None sets no limit.
    """

    repository: str | Path
    model: str = MODEL_NAME
    version: int | None = None
    tokenizer: str | None = None
    threads: int | None = None
    timeout: float | None = _defaults.LOCAL_TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "repository", absolute("repository", self.repository))
        _checks.model_name("model", self.model)
        _checks.optional(_checks.version)("version", self.version)
        _checks.optional(_checks.whole(1))("threads", self.threads)

    def open(self) -> QAClient:
        """Load it, and open a client of it.

        Returns:
            The client, which the caller closes.

        Raises:
            RepositoryError: The repository has no such model, or no such version of it.
            DataError: The repository's store cannot be read.
            ModelLoadError: The engine cannot load the model, or is not installed.
        """
        engine = load(self.directory(), threads=self.threads)
        return QAClient(
            transport=engine, model=self.model, tokenizer=self.tokenizer, timeout=self.timeout
        )

    def directory(self) -> Path:
        """Return the version's directory on this machine, after copying it where it is in a store.

        Raises:
            RepositoryError: The repository has no such model, or no such version of it.
            DataError: The repository's store cannot be read.
        """
        root = str(self.repository)
        if not is_local(root):
            return _copied(root, self.model, self.version)
        repository = Repository(Path(root))
        if not repository.root.is_dir():
            raise RepositoryError(f"There is no model repository {root} on this machine.")
        version = self.version or repository.latest_version(self.model)
        return repository.require_version(version, self.model)


Model = ServedModel | LocalModel


def identified(model: Model, known: int | None = None) -> tuple[Model, Identity]:
    """Return a model with its version named, and which one it is. A question is asked.

    Args:
        model: The model.
        known: The version to take where the model names none; None is the newest, or the default.

    Raises:
        BertQAError: The server cannot be reached, or the model not be loaded.
    """
    if model.version is None and known is not None:
        model = replace(model, version=known)
    with model.open() as client:
        version = client.answer(*_QUESTION).model_version
        tokenizer = client._registry.tokenizer
        named = "" if tokenizer is None else tokenizer.digest
        model = replace(model, version=version)
        if isinstance(model, LocalModel):
            digest = _digest_of_files(model.directory())
        else:
            found = client._transport.metadata(
                version=version, timeout=_checks.seconds("timeout", model.timeout)
            )
            digest = _digest(dict(found.rt_info))
    return model, Identity(model.model, version, digest, named)


def check_identity(model: Model, identity: Identity) -> None:
    """Refuse a model in this process that is not the one that the run was planned with.

    Args:
        model: The model, with its version.
        identity: Which one the run was planned with.

    Raises:
        ModelLoadError: Its files are others.
    """
    if isinstance(model, LocalModel) and _digest_of_files(model.directory()) != identity.digest:
        raise ModelLoadError(
            f"Version {identity.version} of {identity.name} on this machine has other files than "
            "the one that the run began with."
        )


class _Opened:
    """The one client of this process, which is closed when the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: tuple[int, Model, Identity | None] | None = None
        self._client: QAClient | None = None
        atexit.register(self.close)

    def get(self, model: Model, identity: Identity | None) -> QAClient:
        of = (os.getpid(), model, identity)
        with self._lock:
            if self._client is None or self._of != of:
                self._close()
                if identity is not None:
                    check_identity(model, identity)
                self._client, self._of = model.open(), of
            return self._client

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


_opened = _Opened()


def client_of(model: Model, identity: Identity | None = None) -> QAClient:
    """Return this process's client of a model, which is opened at the first call.

    Args:
        model: The model.
        identity: Which one it has to be, None for any.

    Raises:
        BertQAError: It cannot be opened, or is another.
    """
    return _opened.get(model, identity)


def _copied(root: str, model: str, version: int | None) -> Path:
    """Return the directory with the copy of a version, which all workers of a machine share."""
    address = f"{root}/{model}"
    with reaching(address):
        system, path = open_system(address)
        versions = {
            int(name): info["name"]
            for info in system.ls(path, detail=True)
            if (name := PurePosixPath(info["name"]).name).isdecimal()
        }
        if not versions:
            raise RepositoryError(f"{root} has no version of {model}.")
        number = version or max(versions)
        if number not in versions:
            known = ", ".join(map(str, sorted(versions)))
            raise VersionNotFoundError(f"{address} has no version {number} (versions: {known}).")
        files = {
            PurePosixPath(info["name"]).name: info
            for info in system.ls(versions[number], detail=True)
        }
    present = {name: files[name] for name in _MODEL_FILES if name in files}
    marks = {
        name: [str(info.get(key)) for key in ("size", "ETag", "etag", "md5Hash")]
        for name, info in present.items()
    }
    directory = _cache() / _digest([address, number, marks])[:24] / model / str(number)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(directory.parent / "lock"):
        if not directory.is_dir():
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".copy-") as folder:
                staged = Path(folder, "version")
                staged.mkdir()
                for name in present:
                    download(f"{address}/{number}/{name}", staged / name)
                staged.replace(directory)
    return directory


def _cache() -> Path:
    """Return a directory for copies of models that no other user can write to."""
    path = Path(tempfile.gettempdir(), f"bertqa-models-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o022:
        raise ModelLoadError(
            f"{path} belongs to another user, or others may write to it: remove it, or let TMPDIR "
            "name another place."
        )
    return path


def _digest_of_files(directory: Path) -> str:
    files = [directory / name for name in _MODEL_FILES]
    return _digest({file.name: sha256_of(file) for file in files if file.is_file()})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
