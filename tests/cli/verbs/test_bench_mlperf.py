from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bertqa import AsyncQAClient
from tests.cli.conftest import Invoke
from tests.cli.test_main import interruptible
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
    assert said["remark"].startswith("Not an official MLPerf result: the model, bert-qa, is not")
    assert (said["target"], said["model"], said["version"]) == (command[3], "bert-qa", 2)
    assert said["figures"]["Scenario"] == "Server"
    assert said["figures"]["Result is"] == "INVALID"  # Of so few questions, by early stopping.
    assert result.status == 1
    assert any("more queries" in each for each in said["remarks"])
    assert "early stopping asks for 23 s at least" in " ".join(result.err.split())
    assert not said["errors"]
    assert (tmp_path / "logs" / "mlperf_log_detail.txt").stat().st_size


def test_accuracy_is_that_of_the_answers(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke(*command, "--accuracy", "--json")
    assert result.status == 0, result.err
    said = json.loads(result.out)
    assert 0 <= said["exact_match"] <= said["f1"] <= 100


def test_a_verdict_has_its_conditions(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke(*command, "--scenario", "Offline", "--duration", "1s")
    assert "early stopping asks for" not in result.err
    for part in (
        "bert-qa, version 2",
        "Result is",
        "Min duration satisfied",
        "Samples per second",
        "Its logs",
    ):
        assert part in result.out


def test_latencies_are_shown_in_milliseconds(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke(*command, "--scenario", "SingleStream", "--duration", "1s")
    assert "50.00 percentile latency (ms)" in result.out
    assert "(ns)" not in result.out


def test_an_error_that_is_none_of_ours_does_not_leave_loadgen_waiting(
    invoke: Invoke, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(AsyncQAClient, "answer_many", broken)
    result = invoke(*command, "--scenario", "Offline", "--duration", "1s", "--json")
    assert result.status == 1
    assert set(json.loads(result.out)["errors"]) == {"ZeroDivisionError"}


_INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from bertqa.evaluation import read_squad
from bertqa.load import MlperfPlan, Scenario, run_mlperf

asked = 0

def token():
    global asked
    loadgen_asks = any(each.name == "bertqa-call" for each in threading.enumerate())
    asked += loadgen_asks == (during == "run")
    if asked == (20 if during == "run" else 4):
        os.kill(os.getpid(), signal.SIGINT)
    return "t"

url, data, logs, scenario, during = sys.argv[1:]
plan = MlperfPlan(Scenario(scenario), False, 50.0, 60.0, Path(logs))
arguments = {"url": url, "token": token}
try:
    run_mlperf(arguments, read_squad(data), plan, None)
except KeyboardInterrupt:
    for each in threading.enumerate():  # LoadGen's goes on, and must not meet what is gone.
        if each.name == "bertqa-call":
            each.join(1.0)
    os._exit(130)  # As the command does, for threads that cannot be ended.
"""


@pytest.mark.parametrize(
    ("scenario", "during"), [("SingleStream", "run"), ("Server", "run"), ("Server", "warm-up")]
)
def test_ctrl_c_leaves_a_run_without_a_crash(
    served: Served, tmp_path: Path, scenario: str, during: str
) -> None:
    typed = (served.rest_url, str(DATA), str(tmp_path), scenario, during)
    ended = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, *typed],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=interruptible,
    )
    assert (ended.returncode, ended.stderr) == (130, "")
