"""A version's files: in which order they are sent, and which of them a target lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bertqa.artifact import (
    IR_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    SIGNATURE_FILE,
    Repository,
    onnx_model_name,
    sha256_of,
)
from bertqa.errors import RepositoryError
from bertqa_deploy.errors import VersionExistsError

CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """One version of one model: its directory here, and its files' sha256 by their names.

    The names are in the order in which they are sent: the manifest claims the number, its signature
    follows where there is one, and the file that makes the directory a model is the last.
    """

    source: Path
    model: str
    version: int
    digests: Mapping[str, str]

    @property
    def path(self) -> str:
        """The version's directory, from the root of a repository."""
        return f"{self.model}/{self.version}"

    @property
    def identity(self) -> str:
        """A name that no other version has, not even one of the same number."""
        return f"{self.model}-{self.version}-{self.digests[MANIFEST_FILE][:12]}"

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        return (self.source / name).stat().st_size

    @classmethod
    def of(cls, repository: Repository, version: int, model: str) -> VersionFiles:
        """List a version's files.

        Args:
            repository: The repository that has the version.
            version: Its number.
            model: The model's name.

        Returns:
            The files.

        Raises:
            RepositoryError: There is no such version, or its manifest does not list its files.
        """
        directory = repository.require_version(version, model)
        manifest = repository.manifest(version, model)
        model_file = next((name for name in (IR_FILE, ONNX_FILE) if name in manifest.files), None)
        if model_file is None:
            raise RepositoryError(
                f"{directory / MANIFEST_FILE} lists no {IR_FILE} and no {ONNX_FILE}."
            )
        for name in manifest.files:
            if name in (MANIFEST_FILE, SIGNATURE_FILE, ".", "..") or Path(name).name != name:
                raise RepositoryError(
                    f"{directory / MANIFEST_FILE} lists {name!r}, which is not the name of a "
                    "file beside it."
                )
        others = sorted(name for name in manifest.files if name != model_file)
        described = [MANIFEST_FILE]
        if (directory / SIGNATURE_FILE).is_file():
            described.append(SIGNATURE_FILE)
        digests = {name: sha256_of(directory / name) for name in described}
        digests |= {name: manifest.files[name] for name in (*others, model_file)}
        return cls(directory, model, version, digests)

    @classmethod
    def all_of(cls, repository: Repository, version: int, model: str) -> list[VersionFiles]:
        """List a version's files, with those of its ONNX twin where there is one.

        Args:
            repository: The repository that has the version.
            version: Its number.
            model: The model's name.

        Returns:
            The twin's files first: a client that sees the IR may count on it.

        Raises:
            RepositoryError: There is no such version, or a manifest does not list its files.
        """
        twin = onnx_model_name(model)
        models = [twin, model] if repository.version_dir(version, twin).is_dir() else [model]
        return [cls.of(repository, version, each) for each in models]

    def missing(
        self, where: str, sizes: Mapping[str, int], digest: Callable[[str], str]
    ) -> list[str]:
        """Name the files that a target lacks.

        Args:
            where: The target, for messages.
            sizes: The sizes of the files that are there, in bytes, by their names.
            digest: Reads a file there and returns its sha256.

        Returns:
            The names, in the order in which the files are sent.

        Raises:
            VersionExistsError: A file there is another one, or this version has none of that name.
        """
        for name in sizes.keys() - self.digests.keys():
            raise VersionExistsError(
                f"{where} holds {name}, which version {self.version} of {self.model} does not "
                "have. Nothing was changed."
            )
        for name, size in sizes.items():
            if size != self.size(name) or digest(name) != self.digests[name]:
                raise version_exists(f"{where}/{name}")
        return [name for name in self.digests if name not in sizes]


def version_exists(path: str) -> VersionExistsError:
    """Return the error that says that another file is where one was to go."""
    return VersionExistsError(
        f"{path} is there already, and is another file: a published version is never overwritten. "
        "Nothing was changed."
    )


def digest_of(file: BinaryIO, on_bytes: Callable[[int], None]) -> str:
    """Return the sha256 of an open file, and report how many bytes have been read.

    Args:
        file: The file, open for reading.
        on_bytes: Called with the number of bytes so far.
    """
    digest, done = hashlib.sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        done += len(chunk)
        on_bytes(done)
    return digest.hexdigest()
