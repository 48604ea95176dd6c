"""What a writer of a repository is given: versions that are about to be published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bertqa.artifact._manifest import VersionManifest


@dataclass(frozen=True, slots=True)
class Arrival:
    """A staged directory that is to become a version of a model."""

    staged: Path
    model: str
    version: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that has no number yet: its files by the names that they are to have.

    The manifest has everything but `version`, `published` and `files`.
    """

    manifest: VersionManifest
    files: Mapping[str, Path]
