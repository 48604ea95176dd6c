from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bertqa.artifact import Repository
from tests.support.models import write_published_version


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Versions 1 and 2 with manifests and ONNX twins; to be read, not to be changed."""
    root = tmp_path_factory.mktemp("published") / "model_repository"
    for version in (1, 2):
        write_published_version(root, version)
    return Repository(root)


@pytest.fixture
def repository(published: Repository, tmp_path: Path) -> Repository:
    """A copy of `published` that may be changed."""
    shutil.copytree(published.root, tmp_path / "model_repository")
    return Repository(tmp_path / "model_repository")
