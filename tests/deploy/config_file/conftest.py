from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import Repository, Split
from bertqa_deploy.config_file import ConfigTarget
from bertqa_deploy.rollout import Evidence, Moved, OnStep, Plan, Rollout
from bertqa_deploy.server import Server
from tests.deploy.conftest import SMOKE
from tests.support.engines import Served, toy_server

POLL_SECONDS = 0.1
ONLY_1 = {"specific": {"versions": [1]}}


@dataclass(frozen=True)
class Operated:
    """A repository, the server on it, and what operates them: each call is one command."""

    repository: Repository
    server: Server
    grpc_url: str
    rest_url: str
    steps: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def having(self, server: Server | None = None, **options: Any) -> Operated:
        """Return the same with another server, or other options of the target."""
        return replace(self, server=server or self.server, options={**self.options, **options})

    def target(self) -> ConfigTarget:
        return ConfigTarget(self.repository, self.server, **self.options)

    def move(
        self, split: Split, plan: Plan | None = None, evidence: tuple[Evidence, ...] = ()
    ) -> Moved:
        with self.target() as target:
            return Rollout(target, plan or Plan(), evidence, self._on_step).move(split)

    def back(self) -> Moved:
        with self.target() as target:
            return Rollout(target, on_step=self._on_step).back()

    @property
    def _on_step(self) -> OnStep:
        found: OnStep = self.options["on_step"]
        return found


def operate(server: Served) -> Operated:
    """Return what operates a server; one that restarts may wait a minute for its port."""
    steps: list[str] = []
    options = {"smoke": SMOKE, "drain_seconds": 0, "on_step": steps.append}
    return Operated(
        Repository(server.repository),
        Server(server.rest_url, patience=30 if server.engine == "local" else 180),
        server.grpc_url,
        server.rest_url,
        steps,
        options,
    )


@pytest.fixture
def serve(engine: str, tmp_path: Path) -> Iterator[Callable[..., Operated]]:
    """Serve toy versions on each engine; `policy` is OVMS's version policy."""
    with ExitStack() as stack:

        def serve(*versions: int, policy: object = None) -> Operated:
            root = tmp_path / "model_repository"
            server = toy_server(engine, root, *versions, policy=policy, poll_seconds=POLL_SECONDS)
            return operate(stack.enter_context(server))

        yield serve
