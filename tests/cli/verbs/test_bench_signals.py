"""Ctrl-C and SIGTERM while a bench runs a server of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cli.test_main import interruptible
from tests.support.models import write_published_version

DATA = Path(__file__).parents[3] / "build" / "recipes" / "demo" / "evaluation-sample.json"
VERBS = {
    "load": ("--duration", "60s", "--processes", "1"),
    "mlperf": ("--duration", "60s", "--log-dir", "mlperf-logs"),
    "profile": ("--questions", "40"),
    "tune": ("--duration", "1s"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", VERBS)
def test_a_signal_ends_the_servers_too_and_says_nothing_of_them(
    tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    write_published_version(tmp_path / "models", 1)
    command = [sys.executable, "-m", "bertqa_cli.main", "bench", verb, *VERBS[verb]]
    with subprocess.Popen(
        [*command, "--data", str(DATA), "--repository", str(tmp_path / "models")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=interruptible,
    ) as benching:
        assert benching.stderr is not None
        lines = iter(benching.stderr.readline, "")
        assert any(line.startswith(("Warming up", "Asking")) for line in lines)
        started = psutil.Process(benching.pid).children(recursive=True)
        servers = [each for each in started if "bertqa_serve.engine" in each.cmdline()]
        benching.send_signal(number)
        rest = benching.stderr.read()
    assert benching.returncode == 128 + number
    assert servers
    assert not any(each.is_running() for each in servers)
    assert "Traceback" not in rest
