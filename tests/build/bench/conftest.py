from __future__ import annotations

from pathlib import Path

import pytest

from bertqa._progress import ignore
from bertqa_build.bench.plan import BenchFiles
from tests.support.checkpoints import write_checkpoint


@pytest.fixture(scope="package")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_checkpoint(folder / "checkpoint")
    return folder


@pytest.fixture(scope="package")
def files(work_dir: Path) -> BenchFiles:
    from bertqa_build.bench.models import prepare

    files, description = prepare(str(work_dir / "checkpoint"), work_dir, ignore, max_seq_len=128)
    assert "speed alone" in description
    return files
