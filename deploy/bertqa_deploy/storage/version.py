"""The files of a version, as its manifest lists them, and how what a place holds compares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bertqa.artifact import IR_FILE, MANIFEST_FILE, ONNX_FILE, Repository, sha256_of
from bertqa.errors import RepositoryError
from bertqa_deploy.errors import TakenError

CHUNK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """One version of one model: its directory here, and its files' sha256 by their names.

    The names are in the order in which they are sent: the manifest claims the number, and the file
    that makes the directory a model is the last.
    """

    source: Path
    model: str
    version: int
    digests: Mapping[str, str]

    @property
    def path(self) -> str:
        """The version's directory, from the root of a repository."""
        return f"{self.model}/{self.version}"

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        return (self.source / name).stat().st_size

    @classmethod
    def of(cls, repository: Repository, version: int, model: str) -> VersionFiles:
        """List a version's files. Raises RepositoryError where its manifest does not say which."""
        directory = repository.require_version(version, model)
        manifest = repository.manifest(version, model)
        model_file = next((name for name in (IR_FILE, ONNX_FILE) if name in manifest.files), None)
        if model_file is None:
            raise RepositoryError(
                f"{directory / MANIFEST_FILE} lists no {IR_FILE} and no {ONNX_FILE}."
            )
        for name in manifest.files:
            if name in (MANIFEST_FILE, ".", "..") or Path(name).name != name:
                raise RepositoryError(
                    f"{directory / MANIFEST_FILE} lists {name!r}: no file's name."
                )
        others = sorted(name for name in manifest.files if name != model_file)
        digests = {name: manifest.files[name] for name in (*others, model_file)}
        return cls(
            directory,
            model,
            version,
            {MANIFEST_FILE: sha256_of(directory / MANIFEST_FILE), **digests},
        )

    def missing(
        self, where: str, sizes: Mapping[str, int], digest: Callable[[str], str]
    ) -> list[str]:
        """Name what a place lacks, in order, given its files' `sizes` in bytes.

        `digest` reads a file there. Raises TakenError where one is another file, or is no file of
        this version.
        """
        for name in sizes.keys() - self.digests.keys():
            raise TakenError(
                f"{where} holds {name}, which version {self.version} of {self.model} does not "
                "have. Nothing was changed."
            )
        for name, size in sizes.items():
            if size != self.size(name) or digest(name) != self.digests[name]:
                raise taken(f"{where}/{name}")
        return [name for name in self.digests if name not in sizes]


def taken(path: str) -> TakenError:
    """Say that another file is where one was to go."""
    return TakenError(
        f"{path} is there already, and is another file: a published version is never overwritten. "
        "Nothing was changed."
    )


def digest_of(file: BinaryIO, on_bytes: Callable[[int], None]) -> str:
    """Return the sha256 of an open file, telling how many bytes have been read."""
    digest, done = hashlib.sha256(), 0
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        done += len(chunk)
        on_bytes(done)
    return digest.hexdigest()
