"""A server on a repository, for tests that hold for the local engine and for a real OVMS."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from bertqa_serve.engine import LocalServer
from bertqa_serve.engine.metrics import Metrics
from bertqa_serve.launcher import running
from bertqa_serve.options import ServeOptions
from tests.support.models import write_config, write_toy_version
from tests.support.ports import free_port

_OF_THEIR_OWN = {"grpc": "localhost:{}", "dns": "dns:///localhost:{}"}


class Served:
    """A repository with a `config.json`, and one of the engines on it, at the same ports again.

    As a context manager it answers inside the block. The local engine runs in this process, where
    it also speaks the TensorFlow Serving API and looks for changes every `poll_seconds`, or only at
    a reload (0), and has no `/metrics` unless it `counts`; `own_process` has it as it is for a
    user. OVMS is always a process.
    """

    def __init__(
        self,
        engine: str,
        repository: Path,
        *,
        own_process: bool = False,
        poll_seconds: float = 0,
        counts: bool = True,
    ) -> None:
        self.engine = engine
        self.repository = repository
        self.move()
        self._poll_seconds = poll_seconds
        self._counts = counts
        self._own_process = own_process or engine != "local"
        self._process: subprocess.Popen[str] | None = None
        self._running = ExitStack()

    @property
    def grpc_url(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    def port(self, scheme: str) -> int:
        """The port for a scheme of the client's; skips the test where nothing speaks it there."""
        if scheme.startswith("tfs") and self.engine != "local":
            pytest.skip("OVMS speaks the TensorFlow Serving API up to 2026.2 only")
        return self.rest_port if scheme.startswith("http") else self.grpc_port

    def address(self, scheme: str = "grpc") -> dict[str, Any]:
        """What a client is opened with; the ports are not as far apart as they are by default."""
        url = _OF_THEIR_OWN.get(scheme, f"{scheme}://localhost:{{}}").format(self.port(scheme))
        return {"url": url, "metadata_url": self.rest_url}

    @property
    def is_running(self) -> bool:
        """Whether its process runs, which only one of its own has."""
        return self._process is not None and self._process.poll() is None

    def move(self) -> None:
        """Take other ports from the next start on.

        OVMS waits up to a minute for ports of its own that clients were connected to.
        """
        self.grpc_port, self.rest_port = free_port(), free_port()

    def start(self) -> None:
        """Start, and wait until the model answers."""
        if not self._own_process:
            config = self.repository / "config.json"
            server = LocalServer(
                config,
                grpc_port=self.grpc_port,
                rest_port=self.rest_port,
                poll_seconds=self._poll_seconds,
                tensorflow_serving=True,
                metrics=Metrics(enabled=self._counts),
            )
            self._running.enter_context(server)
            return
        options = ServeOptions(
            self.repository,
            engine=self.engine,
            port=self.grpc_port,
            rest_port=self.rest_port,
            warm_up=False,
        )
        self._process = self._running.enter_context(running(options, log=lambda _: None)).process

    def stop(self) -> None:
        """End as it is ended by its user: requests in flight are answered."""
        self._running.close()

    def kill(self) -> None:
        """End at once, which only a process of its own can."""
        assert self._process is not None
        self._process.kill()
        self.stop()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, which only a process of its own can get."""
        assert self._process is not None
        self._process.send_signal(number)

    def reload(self) -> None:
        """Have it look at its configuration and repository now, and wait until it is done."""
        httpx.post(f"{self.rest_url}/v1/config/reload", timeout=60).raise_for_status()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def toy_server(
    engine: str,
    repository: Path,
    *versions: int,
    policy: object = None,
    own_process: bool = False,
    poll_seconds: float = 0,
    counts: bool = True,
) -> Served:
    """Write toy versions into a repository, and return a server for it that is not started yet."""
    for version in versions:
        write_toy_version(repository, version)
    write_config(repository, policy=policy)
    return Served(
        engine, repository, own_process=own_process, poll_seconds=poll_seconds, counts=counts
    )
