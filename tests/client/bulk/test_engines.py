"""Real Ray and real Spark, two workers each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertqa._progress import Progress
from bertqa.bulk import BulkReport, LocalModel, ServedModel, answer_files
from bertqa.bulk._places import OutputDirectory
from bertqa.bulk._run import engine_of
from bertqa.errors import ServerUnreachableError
from tests.support.bulk import IDS, KillingOutput, read_parts, run_with
from tests.support.engines import Served

ROOT = Path(__file__).parents[3]
ROOMS = ("client", "cli", "serve", "build", "deploy", ".")

pytestmark = [pytest.mark.integration, pytest.mark.thorough, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["ray", "spark"])
def on(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each engine, with room for two workers on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(ROOT / room) for room in ROOMS]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        if request.param == "ray":
            ray = pytest.importorskip("ray")
            patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                "local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False,
                log_to_driver=False,
            )  # fmt: skip
            yield "ray"
            ray.shutdown()
        else:
            pytest.importorskip("pyspark")
            if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
                pytest.skip("Spark needs a Java runtime: java is not on PATH (openjdk-17-jre)")
            yield "spark"


def test_workers_that_are_killed_lose_no_row_and_double_none(
    on: str, inputs: Path, tmp_path: Path, model: LocalModel
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    output = KillingOutput(str(tmp_path / "out.parquet"), marks=str(marks))
    events: list[Progress] = []

    report = run_with(engine_of(on), inputs, output, model, on_progress=events.append)

    assert len(list(marks.iterdir())) == 2
    assert report == BulkReport(60, resumed=0, failed=0, partitions=6, model_version=1)
    rows = read_parts(tmp_path / "out.parquet")
    assert sorted(row["id"] for row in rows) == sorted(IDS)
    assert all(row["answer"] and row["model_version"] == 1 for row in rows)
    assert (events[-1].done, events[-1].total) == (60, 60)
    assert not list((tmp_path / "out.parquet").glob(".*"))


def test_a_server_is_asked_and_its_loss_ends_the_run_with_a_way_to_resume(
    on: str, inputs: Path, tmp_path: Path, local_server: Served
) -> None:
    address = local_server.address()
    model = ServedModel(**address, timeout=60)
    output = tmp_path / "out.jsonl"

    report = answer_files(inputs, output, model, on=on, workers=2, partition_rows=20)  # type: ignore[arg-type]

    assert report == BulkReport(60, resumed=0, failed=0, partitions=4, model_version=2)
    lost = sorted(output.glob("part-*"))[1:]
    for part in lost:
        part.unlink()
    gone = ServedModel(**{**address, "url": "127.0.0.1:1"}, timeout=2, version=2)
    with pytest.raises(ServerUnreachableError):
        run_with(engine_of(on), inputs, OutputDirectory(str(output)), gone, partition_rows=20)
    report = answer_files(inputs, output, model, on=on, workers=2, partition_rows=20)  # type: ignore[arg-type]
    assert report == BulkReport(40, resumed=20, failed=0, partitions=4, model_version=2)
