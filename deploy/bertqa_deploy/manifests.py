"""What a version's manifest has to say before the version gets traffic."""

from __future__ import annotations

from bertqa.artifact import MANIFEST_FILE, MODEL_NAME, GateResult, Repository, sha256_of
from bertqa.errors import QualityGateError, RepositoryError


def check_manifest(
    repository: Repository, version: int, model: str = MODEL_NAME, *, force: bool = False
) -> None:
    """Refuse a version that failed the gate, unless `force`, or whose files are not its manifest's.

    A version without a manifest says nothing. Raises QualityGateError and RepositoryError.
    """
    directory = repository.version_dir(version, model)
    if not (directory / MANIFEST_FILE).exists():
        return
    manifest = repository.manifest(version, model)
    if manifest.gate and not manifest.gate.passed and not force:
        raise QualityGateError(
            f"Version {version} failed the quality gate, so its manifest says "
            f"({_figures(manifest.gate)}): nothing was changed. --force takes it even so."
        )
    for name, digest in manifest.files.items():
        if not (directory / name).is_file() or sha256_of(directory / name) != digest:
            raise RepositoryError(
                f"{directory / name} is not the file that was published as version {version}, by "
                "the digest in its manifest: nothing was changed."
            )


def _figures(gate: GateResult) -> str:
    if gate.f1_drop is None or gate.max_f1_drop is None:
        return "it gives no figures"
    return f"F1 fell by {gate.f1_drop:.2f} points, {gate.max_f1_drop:g} are allowed"
