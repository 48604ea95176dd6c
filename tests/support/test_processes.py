from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

PROJECT = Path(__file__).parents[2]
RUN = """
    import threading

    from tests.support.engines import toy_server

    pytest_plugins = ["tests.conftest"]


    def test_that_never_ends(stores, tmp_path):
        for scheme in {schemes}:
            stores.store(scheme)
        with toy_server("local", tmp_path, 1, own_process=True):
            print("every service answers", flush=True)
            threading.Event().wait()
"""


def test_services_end_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    schemes = ("az", "gs") if shutil.which("node") else ("gs",)
    (tmp_path / "test_run.py").write_text(textwrap.dedent(RUN.format(schemes=schemes)))
    options = ("-s", "-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(PROJECT))
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(tmp_path / "test_run.py")],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    output = []
    for line in run.stdout:
        output.append(line)
        if "every service answers" in line:
            break
    assert run.poll() is None, "".join(output)
    services = psutil.Process(run.pid).children(recursive=True)
    assert len(services) > len(schemes)

    run.send_signal(signal.SIGKILL)
    run.communicate()

    _, alive = psutil.wait_procs(services, timeout=60)
    assert alive == []
