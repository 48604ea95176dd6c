from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.support.engines import Served

DATA = Path(__file__).parents[3] / "build" / "recipes" / "demo" / "evaluation-sample.json"


@pytest.fixture
def command(served: Served, tmp_path: Path) -> tuple[str, ...]:
    logs = ("--log-dir", str(tmp_path / "logs"))
    return ("bench", "mlperf", "--url", served.rest_url, "--data", str(DATA), *logs)


def test_loadgen_measures_and_judges(
    invoke: Invoke, command: tuple[str, ...], tmp_path: Path
) -> None:
    typed = ("--scenario", "Server", "--rate", "20", "--duration", "1s", "--json")
    result = invoke(*command, *typed)
    said = json.loads(result.out)
    assert said["remark"].startswith("Not an official MLPerf result")
    assert said["figures"]["Scenario"] == "Server"
    assert said["figures"]["Result is"] == "INVALID"  # Of so few questions, by early stopping.
    assert result.status == 1
    assert any("more queries" in each for each in said["remarks"])
    assert not said["errors"]
    assert (tmp_path / "logs" / "mlperf_log_detail.txt").stat().st_size


def test_accuracy_is_that_of_the_answers(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke(*command, "--accuracy", "--json")
    assert result.status == 0, result.err
    said = json.loads(result.out)
    assert 0 <= said["exact_match"] <= said["f1"] <= 100


def test_a_verdict_has_its_conditions(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke(*command, "--scenario", "Offline", "--duration", "1s")
    for part in ("Result is", "Min duration satisfied", "Samples per second", "Its logs"):
        assert part in result.out
