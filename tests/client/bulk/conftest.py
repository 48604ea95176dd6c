from __future__ import annotations

from pathlib import Path

import pytest

from bertqa.bulk import LocalModel
from tests.support.bulk import write_inputs
from tests.support.models import write_toy_version


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model_repository")
    write_toy_version(root, 1)
    return root


@pytest.fixture
def model(repository: Path) -> LocalModel:
    return LocalModel(repository=repository)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "in")
