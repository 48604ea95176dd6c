"""The HTTP API in a process of its own, beside a server."""

from __future__ import annotations

import multiprocessing
import re
import signal
from pathlib import Path

import pytest

from bertqa_serve.errors import ServerDiedError
from bertqa_serve.http_api import HttpApiOptions, http_api_beside
from tests.support.engines import toy_server


def test_a_process_that_cannot_start_is_never_called_ready(
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = HttpApiOptions(client={"url": "ftp://nowhere"}, port=0)
    with pytest.raises(ServerDiedError, match="by itself with status 1"), http_api_beside(options):
        pytest.fail("it is called ready")
    log = capfd.readouterr().err
    assert "begins with ftp://" in log
    assert "Traceback" not in log


def test_ctrl_c_never_reaches_the_process(tmp_path: Path) -> None:
    with toy_server("local", tmp_path / "model_repository", 1) as server:
        client = {"url": server.grpc_url, "metadata_url": server.rest_url}
        with http_api_beside(HttpApiOptions(client=client, port=0)):
            [process] = multiprocessing.active_children()
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")

    [blocked] = re.findall(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)
    assert int(blocked, 16) >> (signal.SIGINT - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
