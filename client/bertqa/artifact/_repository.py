"""Reading an OVMS model repository: which versions are there, and what their manifests say.

Writing one is the job of `bertqa_build.publish`; this module knows the layout.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from bertqa.artifact._manifest import MANIFEST_FILE, VersionManifest
from bertqa.errors import RepositoryError

MODEL_NAME = "bert-qa"
CONFIG_FILE = "config.json"
IR_FILE = "model.xml"
ONNX_FILE = "model.onnx"

_VERSION = re.compile(r"[1-9][0-9]*")


def onnx_model_name(model: str) -> str:
    """The model under which a version's ONNX file is published; beside an IR, OVMS ignores it."""
    return f"{model}-onnx"


def sha256_of(path: Path) -> str:
    """Digest a file without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Repository:
    """A directory in the layout that OVMS serves."""

    root: Path

    @property
    def config_path(self) -> Path:
        """Where OVMS's `config.json` is."""
        return self.root / CONFIG_FILE

    def version_dir(self, version: int, model: str = MODEL_NAME) -> Path:
        """Where a version is, or would be."""
        return self.root / model / str(version)

    def versions(self, model: str = MODEL_NAME) -> list[int]:
        """The numbers of the published versions, in ascending order."""
        directory = self.root / model
        if not directory.is_dir():
            return []
        return sorted(
            int(entry.name)
            for entry in directory.iterdir()
            if entry.is_dir() and _VERSION.fullmatch(entry.name)
        )

    def require_version(self, version: int, model: str = MODEL_NAME) -> Path:
        """Return a version's directory. Raises RepositoryError naming the versions that exist."""
        directory = self.version_dir(version, model)
        if not directory.is_dir():
            known = ", ".join(map(str, self.versions(model))) or "none"
            raise RepositoryError(
                f"{self.root} has no version {version} of {model} (published: {known})."
            )
        return directory

    def latest_version(self, model: str = MODEL_NAME) -> int:
        """Return the highest published version. Raises RepositoryError where there is none."""
        versions = self.versions(model)
        if not versions:
            raise RepositoryError(
                f"{self.root} has no version of {model}. `bert-qa build` publishes one."
            )
        return versions[-1]

    def manifest(self, version: int, model: str = MODEL_NAME) -> VersionManifest:
        """Read a version's manifest. Raises RepositoryError where there is none."""
        return VersionManifest.read(self.require_version(version, model) / MANIFEST_FILE)
