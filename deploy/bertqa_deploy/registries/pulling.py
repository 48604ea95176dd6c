"""Bringing a version from a registry into a repository."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import (
    MANIFEST_FILE,
    MODEL_NAME,
    SIGNATURE_FILE,
    Draft,
    Provenance,
    Repository,
    SigningKey,
    VerifyKey,
    VersionManifest,
    onnx_model_name,
    open_regular,
    publish_served,
    require_publishable,
    serve_version,
    sign_version,
    unsigned,
)
from bertqa.errors import RepositoryError
from bertqa_deploy.errors import StorageError
from bertqa_deploy.manifests import require_passed
from bertqa_deploy.registries import registry_of
from bertqa_deploy.registries.places import PLACES
from bertqa_deploy.registries.registry import Fetched
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.version import digest_of


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version that was pulled, or that is there already (`present`)."""

    version: int
    model: str
    origin: str
    precision: str
    present: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def pull(
    repository: Repository,
    source: Address,
    model: str = MODEL_NAME,
    *,
    force: bool = False,
    sign: SigningKey | None = None,
    verify: VerifyKey | None = None,
    on_progress: OnProgress = ignore,
) -> Pulled:
    """Publish what a registry has as a new version; each file is checked by its digest before.

    Args:
        repository: The repository, which is made where there is none.
        source: Where the version is: on a hub, in MLflow, or a directory in the hub's layout.
        model: The name of the model that it becomes a version of.
        force: Whether a version is taken that failed the quality gate.
        sign: The key that it is signed with here, where it has another number.
        verify: The key that it has to be signed with where it comes from, if any.
        on_progress: Called with the bytes of each file that are received and checked.

    Returns:
        The version, under its number in this repository.

    Raises:
        InvalidOptionError: No version can be pulled from there.
        StorageError: The registry cannot be reached, has no such version, or has other files than
            its manifest says. Nothing was changed.
        QualityGateError: The version failed the gate.
        SignatureError: The owner of the key to verify with did not sign the version.
        RepositoryError: The repository cannot be written, or its `config.json` not be read.
        ModuleNotFoundError: The registry's extra is not installed.
    """
    begun = time.monotonic()
    require_publishable(repository, onnx_model_name(model), model)
    with registry_of(source).fetch(source, on_progress) as fetched:
        manifests = dict(_manifests(fetched, verify))
        manifest = manifests["openvino"]
        require_passed(manifest, f"The version at {source}", force=force)
        find = partial(_find, repository, model, manifest)
        number = find()
        present = number is not None
        if number is None:
            # The twin first: a client that sees the IR may count on it.
            drafts = [
                _draft(fetched, key, manifests[key], model, on_progress)
                for key in reversed(list(PLACES))
                if key in manifests
            ]
            number = publish_served(
                repository, drafts, present=find, key=sign, on_progress=on_progress
            )
        else:
            serve_version(repository, number, model, on_progress=on_progress)
    if sign is not None:
        sign_version(repository, number, model, sign, on_progress=on_progress)
    seconds = round(time.monotonic() - begun, 3)
    return Pulled(number, model, fetched.origin, manifest.precision, present, seconds)


def _manifests(fetched: Fetched, verify: VerifyKey | None) -> Iterator[tuple[str, VersionManifest]]:
    """Yield the manifest of each format that is there, the IR's among them."""
    if PLACES["openvino"][MANIFEST_FILE] not in fetched.paths:
        if any(each.endswith(f"/{MANIFEST_FILE}") for each in fetched.paths):
            raise StorageError(
                f"{fetched.origin} is a model repository, which servers read as it is: "
                "`bert-qa serve --repository` names it. `bert-qa publish --layout hub` writes a "
                "version to pull."
            )
        raise StorageError(
            f"{fetched.origin} holds no version of bert-qa: it has no "
            f"{PLACES['openvino'][MANIFEST_FILE]}, which `bert-qa publish --layout hub` writes. To "
            "make a version of a checkpoint, use `bert-qa build`."
        )
    for key, places in PLACES.items():
        place = places[MANIFEST_FILE]
        if place not in fetched.paths:
            continue
        if verify is not None:
            _require_signed(fetched, place, places[SIGNATURE_FILE], verify)
        try:
            manifest = VersionManifest.read(fetched.file(place, False))
        except RepositoryError as error:
            raise StorageError(
                f"{fetched.origin} holds no version that can be read: {error}"
            ) from error
        needed = places.keys() - {MANIFEST_FILE, SIGNATURE_FILE}
        if manifest.format != key:
            raise StorageError(
                f"{fetched.origin} holds no version of bert-qa: its {place} is that of a model in "
                f"the format {manifest.format!r}."
            )
        if manifest.files.keys() != needed:
            raise StorageError(
                f"{fetched.origin} holds no version of bert-qa: its {place} lists "
                f"{', '.join(sorted(manifest.files)) or 'no files'}, not "
                f"{' and '.join(sorted(needed))}."
            )
        yield key, manifest


def _require_signed(fetched: Fetched, place: str, signature: str, key: VerifyKey) -> None:
    """Refuse a manifest that the key's owner did not sign; by it the files are checked."""
    if signature not in fetched.paths:
        raise unsigned(f"{signature} in {fetched.origin}")
    files = fetched.file(place, False), fetched.file(signature, False)
    key.check(*files, origin=f"{place} in {fetched.origin}")


def _find(repository: Repository, model: str, manifest: VersionManifest) -> int | None:
    """Return the number under which the same files are in a repository already."""
    for entry in reversed(repository.entries(model)):
        if entry.manifest is not None and entry.manifest.files == manifest.files:
            return entry.number
    return None


def _draft(
    fetched: Fetched, key: str, manifest: VersionManifest, model: str, on_progress: OnProgress
) -> Draft:
    """Fetch the files of one format."""
    files = {
        name: _checked(fetched, PLACES[key][name], digest, on_progress)
        for name, digest in manifest.files.items()
    }
    provenance = replace(manifest.provenance or Provenance(), pulled_from=fetched.origin)
    named = model if key == "openvino" else onnx_model_name(model)
    # The number of what it was made from is one of another repository.
    return Draft(replace(manifest, model=named, parent=None, provenance=provenance), files)


def _checked(fetched: Fetched, path: str, digest: str, on_progress: OnProgress) -> Path:
    """Return where a file is, once its digest is the manifest's."""
    if path not in fetched.paths:
        raise StorageError(f"{fetched.origin} lacks {path}, which its manifest lists.")
    for again in (False, True):
        found = fetched.file(path, again)
        size = found.stat().st_size
        report = Progress(f"Checking {path}", 0, size, "bytes")
        with open_regular(found) as file:
            if digest_of(file, lambda done: on_progress(replace(report, done=done))) == digest:  # noqa: B023
                return found
    raise StorageError(
        f"The {path} of {fetched.origin} is not the one that its manifest lists: it was damaged "
        "or changed. Nothing was published."
    )
