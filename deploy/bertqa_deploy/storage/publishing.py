"""Publishing a version of a repository elsewhere.

What is there already and right is left as it is, so that the same command resumes where one was cut
off; what is there and different is refused before anything is sent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertqa._progress import OnProgress, ignore
from bertqa.artifact import MODEL_NAME, Repository, SigningKey, VerifyKey, sign_version
from bertqa.errors import InvalidOptionError
from bertqa_deploy.errors import StorageError
from bertqa_deploy.manifests import check_manifest
from bertqa_deploy.registries import registry_of
from bertqa_deploy.storage.address import HUB, Address, Layout
from bertqa_deploy.storage.directory import Directory
from bertqa_deploy.storage.object_store import ANSWER_SECONDS, ObjectStore
from bertqa_deploy.storage.version import VersionFiles

_READ_BACK = "Each was read back and matches its manifest."


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file at its place: its path from the root, its size in bytes, and if it was sent now."""

    path: str
    size: int
    sha256: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Published:
    """A version that is whole at its place; `note` is a sentence on how that was checked."""

    version: int
    model: str
    to: str
    files: list[PublishedFile]
    note: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def publish(
    repository: Repository,
    version: int,
    to: Address,
    model: str = MODEL_NAME,
    *,
    force: bool = False,
    layout: Layout = Layout.REPOSITORY,
    public: bool = False,
    sign: SigningKey | None = None,
    verify: VerifyKey | None = None,
    answer_seconds: float = ANSWER_SECONDS,
    on_progress: OnProgress = ignore,
) -> Published:
    """Copy a version, with its ONNX twin where there is one, and verify what arrived.

    Args:
        repository: The repository that has the version.
        version: Its number, which it keeps.
        to: Where it is to go.
        model: The model's name.
        force: Whether a version is copied that failed the quality gate.
        layout: How the files lie in a directory. In a registry they are always as on a hub.
        public: Whether everybody may read a model of a hub that does not exist yet.
        sign: The key that the version is signed with where it is, before it is copied.
        verify: The key that it has to be signed with, if any.
        answer_seconds: How long a store may take to answer the first look, in seconds.
        on_progress: Called with the bytes of each file that are sent or read back.

    Returns:
        What is there now.

    Raises:
        InvalidOptionError: The model's name is not that of a directory, or what goes to a store
            is to be laid out as on a hub.
        RepositoryError: The version is missing or damaged, or the directory cannot be written.
        QualityGateError: The version failed the gate.
        SignatureError: The owner of the key to verify with did not sign the version as it is.
        VersionExistsError: Another version or file is there already.
        StorageError: The target cannot be reached or written, or is inside the repository.
        ModuleNotFoundError: The store's or registry's extra is not installed.
    """
    begun = time.monotonic()
    if model in ("", "..") or Path(model).name != model:
        raise InvalidOptionError(
            f"The model is named {model!r}: pass the name of a model's directory."
        )
    as_package = to.is_registry or layout is Layout.HUB
    if as_package and to.scheme and not to.is_registry:
        raise InvalidOptionError(
            f"{to} is a store that OVMS reads, in a layout of its own: --layout hub is for a "
            "directory, or write hf://org/name."
        )
    if public and to.scheme != HUB:
        raise InvalidOptionError(
            "A model is made public on the Hugging Face hub alone: leave out --public."
        )
    repository.require_version(version, model)
    source, target = repository.root.resolve(), Path(to.path).resolve()
    if not to.scheme and source in target.parents:
        raise StorageError(
            f"{to} is inside the repository that has the version, {repository.root}. Nothing was "
            "changed. Choose a directory outside it."
        )
    for part in VersionFiles.all_of(repository, version, model):
        check_manifest(repository, version, part.model, force=force, key=verify)
    if sign is not None:
        sign_version(repository, version, model, sign, on_progress=on_progress)
    parts = VersionFiles.all_of(repository, version, model)
    if as_package:
        from bertqa_deploy.registries.package import package_of

        package = package_of(repository, version, model)
        pushed = registry_of(to).push(to, package, on_progress, public=public)
        files = [
            PublishedFile(file.path, file.size, file.sha256, file.path in pushed.sent)
            for file in package.files
        ]
        return Published(version, model, pushed.to, files, pushed.note, _since(begun))
    if to.scheme:
        sent = _send(ObjectStore(to, answer_seconds=answer_seconds), parts, on_progress)
    else:
        sent = Directory(Path(to.path)).take(parts, on_progress)
    files = [
        PublishedFile(f"{part.path}/{name}", part.size(name), digest, name in names)
        for part, names in zip(parts, sent, strict=True)
        for name, digest in part.digests.items()
    ]
    return Published(version, model, str(to), files, _READ_BACK, _since(begun))


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


def _send(
    store: ObjectStore, parts: Sequence[VersionFiles], on_progress: OnProgress
) -> list[list[str]]:
    """Send what a store lacks, after a look at all parts; return the names for each of them."""
    missing = [store.missing(part, on_progress) for part in parts]
    for part, names in zip(parts, missing, strict=True):
        store.send(part, names, on_progress)
    return missing
