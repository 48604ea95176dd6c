"""Running a published version in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bertqa.artifact import IR_FILE, Repository

if TYPE_CHECKING:
    from bertqa.runtime.openvino import OpenVINOEngine


def published_engine(root: Path, model: str, version: int | None) -> OpenVINOEngine:
    """Load a version of the repository at `root`; None is the latest. Raises RepositoryError."""
    repository = Repository(root)
    chosen = repository.latest_version(model) if version is None else version
    path = repository.require_version(chosen, model) / IR_FILE

    from bertqa.runtime.openvino import OpenVINOEngine

    return OpenVINOEngine(path, version=chosen)
