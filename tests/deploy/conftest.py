from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bertqa.repository import Repository
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
from bertqa_deploy.switch import Switch
from bertqa_serve.engine import LocalServer
from bertqa_serve.launcher import ServeOptions, running
from tests.support.models import write_config, write_toy_version
from tests.support.ports import free_port

# Toy models answer with whatever they find: the only word of a context is always right.
SMOKE = Smoke("When?", "1932", "1932")
ONLY_1 = {"specific": {"versions": [1]}}


@dataclass
class Served:
    """A repository, and the switch that operates the server on it."""

    repository: Repository
    switch: Switch
    steps: list[str]
    grpc_url: str
    rest_url: str

    def with_drain(self, seconds: float) -> Switch:
        return replace(self.switch, drain_seconds=seconds)


def switch_for(root: Path, rest_url: str, steps: list[str]) -> Switch:
    return Switch(
        Repository(root),
        Server(rest_url, patience=60),
        smoke=SMOKE,
        drain_seconds=0,
        on_step=steps.append,
    )


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serve toy versions from this process; `policy` is OVMS's version policy."""
    with ExitStack() as stack:

        def serve(*versions: int, policy: object = None) -> Served:
            root = tmp_path / "model_repository"
            for version in versions:
                write_toy_version(root, version)
            server = stack.enter_context(
                LocalServer(write_config(root, policy=policy), poll_seconds=0)
            )
            rest_url, steps = f"http://127.0.0.1:{server.rest_port}", list[str]()
            return Served(
                Repository(root),
                switch_for(root, rest_url, steps),
                steps,
                f"127.0.0.1:{server.grpc_port}",
                rest_url,
            )

        yield serve


class ServerProcess:
    """A server in a process of its own, that can be restarted at the same ports."""

    def __init__(self, root: Path, engine: str) -> None:
        port, rest_port = free_port(), free_port()
        self._options = ServeOptions(
            root, engine=engine, port=port, rest_port=rest_port, warm_up=False
        )
        self._log: list[str] = []
        self._stack = ExitStack()
        steps: list[str] = []
        rest_url = f"http://127.0.0.1:{rest_port}"
        self.served = Served(
            Repository(root),
            switch_for(root, rest_url, steps),
            steps,
            f"127.0.0.1:{port}",
            rest_url,
        )

    def start(self) -> None:
        self._stack.enter_context(running(self._options, log=self._log.append))

    def stop(self) -> None:
        self._stack.close()
