"""The rights of the chart's Role suffice for real switches that run in the cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.target import ReleaseTarget
from bertqa_deploy.errors import RolledBackError
from bertqa_deploy.rollout import Limits, OnInconclusive, Plan, Rollout
from tests.deploy.cluster.api_server import ApiServer, running
from tests.deploy.cluster.api_wire import discovery, failure
from tests.deploy.cluster.conftest import GATEWAY, Install
from tests.deploy.conftest import SMOKE
from tests.support.ports import free_port
from tools.programs import helm, older_helm

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# Measures, and goes on without evidence.
MEASURED = Plan(
    (50, 100),
    0.1,
    interval_seconds=0.1,
    limits=Limits(),
    on_inconclusive=OnInconclusive.PROMOTE,
)


class BoundedServer(ApiServer):
    """Refuses what the rules of a Role do not allow, once there are any."""

    def __init__(self, servers: dict[int, int]) -> None:
        super().__init__(servers)
        self.rules: list[dict[str, list[str]]] = []
        self.refused: set[tuple[str, str, str]] = set()

    def bind(self) -> None:
        """Let the rules of the one Role count."""
        with self._lock:
            (role,) = (o for (_, what, _), o in self._objects.items() if what == "roles")
        self.rules = role["rules"]

    def allows(self, verb: str, group: str, resource: str) -> bool:
        allowed = not self.rules or any(
            group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]
            for rule in self.rules
        )
        if not allowed:
            self.refused.add((verb, group, resource))
        return allowed

    async def answer(self, request: Request) -> Response:
        path = request.url.path.strip("/")
        if discovery(path) is None:
            prefix, _, rest = path.partition("/namespaces/")
            group = "" if prefix.startswith("api/") else prefix.split("/")[1]
            _, resource, *names = rest.split("/")
            verb = VERBS.get(request.method, "get" if names else "list")
            if not self.allows(verb, group, resource):
                return failure(403, "Forbidden", f"you cannot {verb} {resource}.{group}")
        return await super().answer(request)

    async def forward(self, websocket: WebSocket) -> None:
        # Clusters check one or the other or both for a websocket.
        if all(self.allows(verb, "", "pods/portforward") for verb in ("get", "create")):
            await super().forward(websocket)


@pytest.fixture
def api(
    servers: dict[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BoundedServer]:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    server = BoundedServer(servers)
    with running(server, free_port(), tmp_path / "kubeconfig"):
        yield server
    assert not server.refused


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("program", "settings"),
    [(helm, ()), (helm, GATEWAY), (older_helm, ("--set", "autoscaling.enabled=true"))],
    ids=["a Service", "a gateway", "an autoscaler and Helm 3"],
)
def test_a_switch_a_return_and_a_failure_need_no_other_rights(
    install: Install, api: BoundedServer, program: Callable[[], Path], settings: tuple[str, ...]
) -> None:
    release = install("--set", "switch.enabled=true", *settings, program=program())
    api.bind()
    plan = MEASURED if settings == GATEWAY else Plan()
    assert rollout(release, plan).move({2: 100.0}).split == {2: 100.0}
    assert rollout(release, plan).back().split == {1: 100.0}
    with pytest.raises(RolledBackError):
        rollout(release, plan, patience=1).move({9: 100.0})
    # As after an upgrade that was killed.
    where = ("--namespace", release.access.namespace)
    subprocess.run([program(), "rollback", release.release, *where], check=True)


def rollout(release: Helm, plan: Plan, **options: Any) -> Rollout:
    return Rollout(ReleaseTarget(HelmCluster(release, **{"patience": 20, **options}), SMOKE), plan)
