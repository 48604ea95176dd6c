from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from bertqa.repository import Repository
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
from bertqa_deploy.switch import Switch
from bertqa_serve.engine import LocalServer
from tests.support.models import write_config, write_toy_version

# Toy models answer with whatever they find: the only word of a context is always right.
SMOKE = Smoke("When?", "1932", "1932")


@dataclass
class Served:
    """A server on a repository, and the switch that operates it."""

    repository: Repository
    server: LocalServer
    switch: Switch
    steps: list[str]

    @property
    def grpc_url(self) -> str:
        return f"127.0.0.1:{self.server.grpc_port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.server.rest_port}"

    def restart(self) -> None:
        """Stop the server, and start another one at the same ports."""
        ports = {"grpc_port": self.server.grpc_port, "rest_port": self.server.rest_port}
        self.server.stop()
        self.server = LocalServer(self.repository.config_path, **ports)
        self.server.start()


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serve toy versions with the local engine; `policy` is OVMS's version policy."""
    with ExitStack() as stack:

        def serve(*versions: int, policy: object = None, drain_seconds: float = 0) -> Served:
            root = tmp_path / "model_repository"
            for version in versions:
                write_toy_version(root, version)
            server = LocalServer(write_config(root, policy=policy), poll_seconds=0.2)
            server.start()
            steps: list[str] = []
            switch = Switch(
                Repository(root),
                Server(f"http://127.0.0.1:{server.rest_port}", patience=20),
                smoke=SMOKE,
                drain_seconds=drain_seconds,
                on_step=steps.append,
            )
            served = Served(Repository(root), server, switch, steps)
            stack.callback(lambda: served.server.stop())
            return served

        yield serve
