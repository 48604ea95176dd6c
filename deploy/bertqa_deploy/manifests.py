"""What a version's manifest has to say before the version gets traffic."""

from __future__ import annotations

from bertqa.artifact import (
    MANIFEST_FILE,
    MODEL_NAME,
    GateResult,
    Repository,
    VerifyKey,
    VersionManifest,
    changed_file,
    require_signed,
)
from bertqa.errors import QualityGateError, RepositoryError


def check_manifest(
    repository: Repository,
    version: int,
    model: str = MODEL_NAME,
    *,
    force: bool = False,
    key: VerifyKey | None = None,
) -> None:
    """Refuse a version that failed the quality gate, or whose files are not those published.

    A version without a manifest, as OVMS users have them, passes where no key is required.

    Args:
        repository: The repository that has the version.
        version: Its number.
        model: The model's name.
        force: Whether a version passes that failed the gate.
        key: The key that it has to be signed with, if any.

    Raises:
        QualityGateError: The version failed the gate.
        SignatureError: The key's owner did not sign the version as it is.
        RepositoryError: A file is missing or has another digest than the manifest says, or the
            manifest cannot be read.
    """
    directory = repository.version_dir(version, model)
    if key is not None:
        require_signed(repository.require_version(version, model), key)
    if not (directory / MANIFEST_FILE).exists():
        return
    manifest = repository.manifest(version, model)
    require_passed(manifest, f"Version {version}", force=force)
    changed = None if key is not None else changed_file(directory, manifest)
    if changed is not None:
        raise RepositoryError(
            f"{changed} is not the file that was published as version {version}, by the digest in "
            "its manifest: nothing was changed."
        )


def require_passed(manifest: VersionManifest, what: str, *, force: bool) -> None:
    """Refuse a version that failed the quality gate.

    Args:
        manifest: Its manifest.
        what: The version, as the subject of a sentence.
        force: Whether it passes all the same.

    Raises:
        QualityGateError: It failed the gate.
    """
    if manifest.gate and not manifest.gate.passed and not force:
        raise QualityGateError(
            f"{what} failed the quality gate, as its manifest says ({_figures(manifest.gate)}): "
            "nothing was changed. --force takes it nevertheless."
        )


def _figures(gate: GateResult) -> str:
    if gate.reasons:
        return "; ".join(gate.reasons)
    if gate.f1_drop is None or gate.max_f1_drop is None:
        return "it has no figures"
    return f"F1 fell by {gate.f1_drop:.2f} points, {gate.max_f1_drop:g} are allowed"
