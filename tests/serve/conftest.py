from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.models import model_info, write_toy_version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for version in (1, 2):
        write_toy_version(root, version, info=model_info(max_seq_len=80))
    return root
