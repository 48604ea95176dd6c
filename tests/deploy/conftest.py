from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bertqa.artifact import Repository
from bertqa_deploy.server import Server
from bertqa_deploy.smoke import Smoke
from bertqa_deploy.switch import Switch
from tests.support.engines import Served, toy_server
from tests.support.release import Release, run
from tools.programs import kubectl

# Toy models answer with whatever they find: the only word of a context is always right.
SMOKE = Smoke("When?", "1932", "1932")
POLL_SECONDS = 0.1
ONLY_1 = {"specific": {"versions": [1]}}


@dataclass
class Operated:
    """A repository, and the switch that operates the server on it."""

    repository: Repository
    switch: Switch
    steps: list[str]
    grpc_url: str
    rest_url: str

    def with_drain(self, seconds: float) -> Switch:
        return replace(self.switch, drain_seconds=seconds)


def operate(server: Served) -> Operated:
    """Return the switch of a server; one that restarts may wait a minute for its port."""
    repository, steps = Repository(server.repository), list[str]()
    switch = Switch(
        repository,
        Server(server.rest_url, patience=180),
        smoke=SMOKE,
        drain_seconds=0,
        on_step=steps.append,
    )
    return Operated(repository, switch, steps, server.grpc_url, server.rest_url)


@pytest.fixture
def serve(engine: str, tmp_path: Path) -> Iterator[Callable[..., Operated]]:
    """Serve toy versions on each engine; `policy` is OVMS's version policy."""
    with ExitStack() as stack:

        def serve(*versions: int, policy: object = None) -> Operated:
            root = tmp_path / "model_repository"
            server = toy_server(engine, root, *versions, policy=policy, poll_seconds=POLL_SECONDS)
            return operate(stack.enter_context(server))

        yield serve


@pytest.fixture
def release() -> Iterator[Release]:
    """A release in a namespace of its own, on the cluster to which KUBECONFIG leads."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster: set it to install, test, upgrade and uninstall")
    namespace = f"bert-qa-test-{uuid.uuid4().hex[:8]}"
    run(kubectl(), "create", "namespace", namespace)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    run(kubectl(), "label", "namespace", namespace, restricted)
    try:
        yield Release(namespace)
    finally:
        run(kubectl(), "delete", "namespace", namespace, "--wait=false")
