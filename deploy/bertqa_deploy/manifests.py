"""What a version's manifest has to say before the version gets traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertqa.artifact import MANIFEST_FILE, MODEL_NAME, Repository, sha256_of
from bertqa.errors import RepositoryError
from bertqa_deploy.errors import QualityGateError


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
    if manifest.gate and not manifest.gate.get("passed", True) and not force:
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


def _figures(gate: Mapping[str, Any]) -> str:
    drop, allowed = gate.get("f1_drop"), gate.get("max_f1_drop")
    if not isinstance(drop, int | float) or not isinstance(allowed, int | float):
        return "it gives no figures"
    return f"F1 fell by {drop:.2f} points, {allowed:g} are allowed"
