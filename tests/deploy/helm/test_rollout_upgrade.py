"""What an upgrade of a Rollout keeps of what runs, and what it refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.cluster.api_server import ApiServer, running
from tests.support.chart import CHART, NAMESPACE, RELEASE, SCENARIOS
from tests.support.ports import free_port
from tests.support.release import Release
from tools.programs import helm, kubectl

STABLE, CANARY = "bert-qa-stable", "bert-qa-canary"
ROUTES = ("httproutes", "grpcroutes")
VALUES = ("--values", str(SCENARIOS["rollouts"]))


class Cluster:
    """A release of this scenario on an API server that keeps what it is given."""

    def __init__(self, address: str) -> None:
        self._address = address

    def helm(self, verb: str, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [str(helm()), verb, RELEASE, str(CHART), "--namespace", NAMESPACE]
        return subprocess.run(
            [*command, *VALUES, *flags], capture_output=True, text=True, check=False
        )

    def object(self, group: str, plural: str, name: str) -> Any:
        return httpx.get(self._url(group, plural, name)).raise_for_status().json()

    def replace(self, group: str, plural: str, name: str, content: Any) -> None:
        httpx.put(self._url(group, plural, name), json=content).raise_for_status()

    def _url(self, group: str, plural: str, name: str) -> str:
        return f"{self._address}/apis/{group}/namespaces/{NAMESPACE}/{plural}/{name}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    port = free_port()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with running(ApiServer({1: port}), port, tmp_path / "kubeconfig"):
        yield Cluster(f"http://127.0.0.1:{port}")


def installed(cluster: Cluster, *flags: str) -> None:
    done = cluster.helm("install", *flags)
    assert done.returncode == 0, done.stderr


def upgraded(cluster: Cluster, *flags: str) -> None:
    done = cluster.helm("upgrade", *flags)
    assert done.returncode == 0, done.stderr


def test_an_upgrade_while_a_version_is_held_keeps_the_weights_of_the_moment(
    cluster: Cluster,
) -> None:
    gateway = "gateway.networking.k8s.io/v1"
    installed(cluster)
    for plural in ROUTES:
        route = cluster.object(gateway, plural, RELEASE)
        set_weight(route, 25)
        cluster.replace(gateway, plural, RELEASE, route)
    upgraded(cluster, "--set", "tracks.stable.version=2")
    for plural in ROUTES:
        assert weights(cluster.object(gateway, plural, RELEASE)) == {CANARY: 25, STABLE: 75}


def test_an_upgrade_keeps_the_number_of_pods_that_the_autoscaler_has_set(cluster: Cluster) -> None:
    group, scaled = "argoproj.io/v1alpha1", "autoscaling.enabled=true"
    installed(cluster, "--set", "tracks.stable.replicas=3")
    upgraded(cluster, "--set", scaled)
    rollout = cluster.object(group, "rollouts", STABLE)
    assert rollout["spec"]["replicas"] == 3
    rollout["spec"]["replicas"] = 7
    cluster.replace(group, "rollouts", STABLE, rollout)
    upgraded(cluster, "--set", scaled, "--set", "tracks.stable.version=2")
    assert cluster.object(group, "rollouts", STABLE)["spec"]["replicas"] == 7


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("false", "true", f"The release runs as the Deployment {STABLE}, whose pods would go"),
        ("true", "false", f"The release runs as the Rollout {STABLE}, whose pods would go"),
    ],
)
def test_a_release_that_runs_is_not_turned_into_the_other_kind(
    cluster: Cluster, before: str, after: str, sentence: str
) -> None:
    installed(cluster, "--set", f"rollouts.enabled={before}")
    refused = cluster.helm("upgrade", "--set", f"rollouts.enabled={after}")
    assert refused.returncode != 0
    assert sentence in refused.stderr


def weights(route: Any) -> dict[str, int]:
    return {one["name"]: one["weight"] for one in route["spec"]["rules"][-1]["backendRefs"]}


def set_weight(route: Any, canary: int) -> None:
    """Change a route as the plugin does: it leaves rules with the canary's Service alone."""
    for rule in route["spec"]["rules"]:
        backends = rule["backendRefs"]
        for backend in backends if [one["name"] for one in backends] != [CANARY] else []:
            if backend["name"] in {CANARY, STABLE}:
                backend["weight"] = canary if backend["name"] == CANARY else 100 - canary


class Argo:
    """What Argo Rollouts and its plugin write, with their field managers: neither runs here."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def write(self, stable: str, canary: str, weight: int) -> None:
        for service, pods in ((STABLE, stable), (CANARY, canary)):
            patch = {
                "metadata": {
                    "annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": STABLE}
                },
                "spec": {"selector": {"rollouts-pod-template-hash": pods}},
            }
            flags = ("--field-manager", "rollouts-controller", "--patch", json.dumps(patch))
            self._release.kubectl("patch", "service", service, *flags)
        for plural in ROUTES:
            route = json.loads(self._release.kubectl("get", plural, RELEASE, "--output", "json"))
            set_weight(route, weight)
            command = [str(kubectl()), *self._release.namespace, "replace", "--filename", "-"]
            subprocess.run(
                [*command, "--field-manager", "gatewayapi-plugin"],
                input=json.dumps(route),
                text=True,
                check=True,
                capture_output=True,
            )

    def read(self) -> tuple[str, str, list[int]]:
        """The pods of the stable and of the new version, and the share of the new one."""
        pods = [
            json.loads(self._release.kubectl("get", "service", name, "--output", "json"))["spec"][
                "selector"
            ]["rollouts-pod-template-hash"]
            for name in (STABLE, CANARY)
        ]
        shares = [
            weights(json.loads(self._release.kubectl("get", plural, RELEASE, "--output", "json")))
            for plural in ROUTES
        ]
        return pods[0], pods[1], [share[CANARY] for share in shares]


@pytest.mark.cluster
@pytest.mark.parametrize("mode", ["--server-side=true", "--server-side=false"])
def test_upgrades_and_argo_rollouts_leave_each_others_fields_alone(
    release: Release, mode: str
) -> None:
    for resource in ("rollouts.argoproj.io", "servicemonitors.monitoring.coreos.com", *ROUTES):
        if resource.partition(".")[0] not in release.kubectl("api-resources", "--output", "name"):
            pytest.skip(f"the cluster does not know {resource}")
    release.name = RELEASE
    argo = Argo(release)

    def upgrade(version: int) -> None:
        version_flags = ("--set", f"tracks.stable.version={version}")
        release.helm("upgrade", RELEASE, CHART, "--reset-then-reuse-values", *version_flags)

    release.helm("install", RELEASE, CHART, mode, *VALUES)
    argo.write("one", "one", 0)
    upgrade(2)
    assert argo.read() == ("one", "one", [0, 0])
    argo.write("one", "two", 25)
    upgrade(3)
    assert argo.read() == ("one", "two", [25, 25])
    argo.write("three", "three", 0)
    upgrade(4)
    assert argo.read() == ("three", "three", [0, 0])
    release.helm("rollback", RELEASE, "1")
    assert argo.read() == ("three", "three", [0, 0])
    release.helm("uninstall", RELEASE)
