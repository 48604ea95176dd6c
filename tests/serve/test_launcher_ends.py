"""How servers end: by themselves, killed, cut short or as asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from bertqa._progress import Progress
from bertqa_serve.errors import ServerDiedError
from bertqa_serve.launcher import running
from tests.serve.test_launcher import ENGINE, nothing, options, program
from tests.support.models import write_toy_version
from tests.support.ports import free_port


def test_a_server_that_dies_is_reported_with_its_last_lines(
    repository: Path, tmp_path: Path
) -> None:
    dying = program(tmp_path / "ovms", "echo I cannot continue; exit 3")
    chosen = options(repository, engine="ovms", ovms_path=dying)
    with (
        pytest.raises(ServerDiedError, match="status 3") as caught,
        running(chosen, log=nothing),
    ):
        pass
    assert caught.value.detail == "I cannot continue"


def test_a_server_that_is_killed_later_is_noticed(repository: Path) -> None:
    with running(options(repository, warm_up=False), log=nothing) as server:
        server.process.kill()
        with pytest.raises(ServerDiedError, match="status -9"):
            server.wait(timeout=30)


def test_a_log_that_is_no_longer_read_does_not_stop_the_server(
    repository: Path, tmp_path: Path
) -> None:
    talkative = program(tmp_path / "ovms", "yes | head -c 1000000; " + ENGINE)
    chosen = options(repository, engine="ovms", ovms_path=talkative, warm_up=False)

    def log(line: str) -> None:
        if not line.startswith("Serving with"):
            raise BrokenPipeError

    with running(chosen, log=log) as server:
        assert httpx.get(f"{server.rest_url}/v2/models/bert-qa/ready").status_code == 200


def test_a_start_can_be_cut_short(repository: Path) -> None:
    stop = threading.Event()
    stop.set()
    with running(options(repository), log=nothing, stop=stop) as server:
        pass
    assert server.process.returncode is not None


def test_a_warm_up_can_be_cut_short(repository: Path) -> None:
    stop = threading.Event()
    seen: list[Progress] = []

    def stop_at_the_first(progress: Progress) -> None:
        seen.append(progress)
        stop.set()

    with running(
        options(repository), log=nothing, on_progress=stop_at_the_first, stop=stop
    ) as server:
        assert server.process.poll() is None
    assert len(seen) == 1


def test_a_version_that_does_not_describe_its_lengths_is_reported_and_served(
    tmp_path: Path,
) -> None:
    write_toy_version(tmp_path, 1, describe=False)
    lines: list[str] = []
    with running(options(tmp_path), log=lines.append) as server:
        assert httpx.get(f"{server.rest_url}/v2/models/bert-qa/ready").status_code == 200
    assert any("version 1 does not describe its input lengths" in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_ends_in_order_when_asked(repository: Path, number: signal.Signals) -> None:
    script = (
        "import sys; from contextlib import nullcontext; from pathlib import Path;"
        "from bertqa_serve.launcher import serve; from bertqa_serve.options import ServeOptions;"
        "beside = lambda _: (print('READY'), nullcontext(lambda: None))[1];"
        "sys.exit(serve(ServeOptions(Path(sys.argv[1]), engine='local', port=int(sys.argv[2]),"
        "rest_port=int(sys.argv[3]), warm_up=False), beside=beside))"
    )
    ports = [str(free_port()), str(free_port())]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", script, str(repository), *ports],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any(line.strip() == "READY" for line in process.stdout)
        os.kill(process.pid, number)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stdout.close()
