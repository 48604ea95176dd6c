"""What a build is made of and on: enough to make it again, and to see why it came out otherwise."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from bertqa.artifact import Provenance
from bertqa_build.fingerprint import DataDigests
from bertqa_build.machine import machine
from bertqa_build.recipe import Recipe

_GIT_SECONDS = 10
_IN_NO_COMMIT = ("??", "!!")


def provenance_of(recipe: Recipe, checkpoint: str, revision: str, data: DataDigests) -> Provenance:
    """Return what a build is made of and on.

    Args:
        recipe: The recipe.
        checkpoint: The digest of its checkpoint, by `checkpoint_digest`.
        revision: The checkpoint's commit, where it is a hub's.
        data: The digest of each source of questions.

    Returns:
        The provenance for the manifests.
    """
    commit, is_modified = ("", None) if recipe.file is None else _commit_of(recipe.file)
    return Provenance(
        commit=commit,
        is_modified=is_modified,
        checkpoint_sha256=checkpoint,
        checkpoint_revision=revision,
        data=dict(data),
        seed=recipe.seed,
        machine=machine(),
        threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.release()}",
    )


def _commit_of(file: Path) -> tuple[str, bool | None]:
    """Return the commit that has a file, and whether the file differs from it; or none."""
    status = _git(file.parent, "status", "--porcelain", "--ignored", "--", file.name)
    if status is None or status.startswith(_IN_NO_COMMIT):
        return "", None
    commit = _git(file.parent, "rev-parse", "HEAD")
    return ("", None) if commit is None else (commit.strip(), bool(status))


def _git(directory: Path, *arguments: str) -> str | None:
    """Return what git prints; None without git, or in no repository."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
