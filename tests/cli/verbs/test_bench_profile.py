from __future__ import annotations

import json
from pathlib import Path

from bertqa.profile import Operations, OperationTime
from bertqa_cli.verbs.bench_profile import _table_of
from tests.cli.conftest import Invoke
from tests.support.engines import Served
from tests.support.models import write_published_version
from tests.support.ports import free_port

DATA = Path(__file__).parents[3] / "build" / "recipes" / "demo" / "evaluation-sample.json"
SHORT = ("bench", "profile", "--data", str(DATA), "--questions", "4")


def test_a_version_of_a_repository_is_served_and_profiled(invoke: Invoke, tmp_path: Path) -> None:
    for version in (1, 2):
        write_published_version(tmp_path, version)
    page = tmp_path / "page.html"
    before = sorted(tmp_path.rglob("*"))

    result = invoke(
        *(*SHORT, "--repository", str(tmp_path), "--version", "1"), "--html", str(page), "--json"
    )

    assert result.status == 0, result.err
    found = json.loads(result.out)
    assert (found["version"], found["questions"], found["at_once"]) == (1, 4, 4)
    assert found["has_server_times"]
    phases = [part["name"] for part in found["question"]["parts"]]
    assert phases == ["tokenise", "queue", "wire", "infer", "decode", "the client besides"]
    assert found["alone"]["words"] == 300
    assert len(found["alone"]["overhead_range_ms"]) == 2
    assert found["operations"]
    assert "<svg" in page.read_text(encoding="utf-8")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, page])


def test_a_server_that_runs_is_profiled_against_the_repository(
    invoke: Invoke, served: Served
) -> None:
    result = invoke(
        *(*SHORT, "--repository", str(served.repository), "--version", "1"),
        *("--url", served.grpc_url, "--metadata-url", served.rest_url),
    )
    assert result.status == 0, result.err
    assert "One question alone" in result.out
    assert "serialise and transfer" in result.out
    assert "kernel" in result.out
    assert "in fifths of the turns" in " ".join(result.out.split())
    assert "    between operations" in result.out
    assert "ms in all" in " ".join(result.out.split())


def test_operations_below_a_thousandth_are_one_row() -> None:
    times = [OperationTime(f"K{n}", "k", "f32", 1, ms, ms) for n, ms in enumerate((90, 0.05, 0.04))]
    table = _table_of(Operations("f32", 1, 100.0, tuple(times)))
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert [(row[0], *row[-2:]) for row in rows] == [
        ("K0", "90.0", "90.0%"),
        ("other", "0.1", "0.1%"),
        ("between operations", "9.9", "9.9%"),
    ]


def test_a_server_that_is_not_there_is_named(invoke: Invoke, served: Served) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = invoke(*SHORT, "--repository", str(served.repository), "--url", url, "--timeout", "1s")
    assert result.status == 1
    assert "Cannot connect to" in result.err


def test_options_of_a_connection_need_a_server(invoke: Invoke, served: Served) -> None:
    result = invoke(*SHORT, "--repository", str(served.repository), "--token", "t")
    assert result.status == 2
    assert "name it with --url" in result.err
