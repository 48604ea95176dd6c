"""How many pods a track has after an upgrade, where an autoscaler decides: as many as before it."""

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
from tools.programs import helm, older_helm

HPA: dict[str, Any] = {"enabled": True}
KEDA: dict[str, Any] = {"enabled": True, "keda": {"enabled": True}}
autoscalers = pytest.mark.parametrize("autoscaling", [HPA, KEDA], ids=["hpa", "keda"])


class Cluster:
    """A release on an API server that keeps what it is given."""

    def __init__(self, url: str, program: Path) -> None:
        self.program = program
        self.url = f"{url}/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}"
        self.autoscaling: dict[str, Any] = {}

    def upgrade(self, **tracks: dict[str, Any]) -> None:
        flags = ["--install", "--namespace", NAMESPACE, "--values", str(SCENARIOS["pvc"])]
        values = {"autoscaling": self.autoscaling, "tracks": {"stable": None, **tracks}}
        subprocess.run(
            [str(self.program), "upgrade", RELEASE, str(CHART), *flags, "--values", "-"],
            input=json.dumps(values),
            capture_output=True,
            text=True,
            check=True,
        )

    def scale(self, track: str, replicas: int) -> None:
        """Do as an autoscaler does."""
        patch = {"spec": {"replicas": replicas}}
        headers = {"content-type": "application/merge-patch+json"}
        httpx.patch(f"{self.url}-{track}", json=patch, headers=headers).raise_for_status()

    def replicas(self, track: str) -> int:
        found = httpx.get(f"{self.url}-{track}").raise_for_status().json()
        return int(found["spec"]["replicas"])


@pytest.fixture(
    params=[helm, pytest.param(older_helm, marks=pytest.mark.thorough)], ids=["helm 4", "helm 3"]
)
def cluster(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    kubeconfig, port = tmp_path / "kubeconfig", free_port()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with running(ApiServer({1: 0, 2: 0}), port, kubeconfig):
        yield Cluster(f"http://127.0.0.1:{port}", request.param())


def track(version: int, weight: int, replicas: int = 2) -> dict[str, Any]:
    return {"version": version, "weight": weight, "replicas": replicas}


@autoscalers
def test_turning_autoscaling_on_keeps_the_pods_that_run(
    cluster: Cluster, autoscaling: dict[str, Any]
) -> None:
    cluster.upgrade(stable=track(1, 100, replicas=5))
    cluster.autoscaling = autoscaling
    cluster.upgrade(stable=track(1, 100, replicas=5))
    assert cluster.replicas("stable") == 5


def test_turning_autoscaling_off_sets_the_replicas_of_the_track(cluster: Cluster) -> None:
    cluster.autoscaling = HPA
    cluster.upgrade(stable=track(1, 100, replicas=3))
    cluster.scale("stable", 7)
    cluster.autoscaling = {}
    cluster.upgrade(stable=track(1, 100, replicas=3))
    assert cluster.replicas("stable") == 3


@autoscalers
def test_a_weight_given_and_taken_away_keeps_the_pods_that_run(
    cluster: Cluster, autoscaling: dict[str, Any]
) -> None:
    cluster.autoscaling = autoscaling
    cluster.upgrade(v1=track(1, 100))
    cluster.scale("v1", 8)
    cluster.upgrade(v1=track(1, 100), v2=track(2, 0, replicas=8))
    assert (cluster.replicas("v1"), cluster.replicas("v2")) == (8, 8)
    for weight in (10, 50, 100):
        cluster.upgrade(v1=track(1, 100 - weight), v2=track(2, weight, replicas=8))
        assert (cluster.replicas("v1"), cluster.replicas("v2")) == (8, 8)
    cluster.scale("v1", 5)
    cluster.scale("v2", 9)
    for _ in range(2):
        cluster.upgrade(v1=track(1, 100), v2=track(2, 0, replicas=8))
        assert (cluster.replicas("v1"), cluster.replicas("v2")) == (5, 9)


def test_a_track_without_weight_has_the_replicas_that_it_is_given_anew(cluster: Cluster) -> None:
    cluster.autoscaling = HPA
    cluster.upgrade(v1=track(1, 100), v2=track(2, 0, replicas=4))
    assert cluster.replicas("v2") == 4
    cluster.upgrade(v1=track(1, 100), v2=track(2, 0, replicas=6))
    assert cluster.replicas("v2") == 6
    cluster.upgrade(v1=track(1, 100), v2=track(2, 0, replicas=0))
    assert cluster.replicas("v2") == 0


def test_a_track_without_pods_gets_the_fewest_with_its_weight(cluster: Cluster) -> None:
    """An autoscaler leaves a Deployment of 0 pods alone."""
    cluster.autoscaling = {**HPA, "minReplicas": 3}
    cluster.upgrade(v1=track(1, 100), v2=track(2, 0, replicas=0))
    cluster.upgrade(v1=track(1, 90), v2=track(2, 10, replicas=0))
    assert cluster.replicas("v2") == 3


def test_without_autoscaling_tracks_have_the_replicas_that_they_are_given(
    cluster: Cluster,
) -> None:
    cluster.upgrade(v1=track(1, 100, replicas=3), v2=track(2, 0, replicas=2))
    cluster.upgrade(v1=track(1, 0, replicas=3), v2=track(2, 100, replicas=2))
    assert (cluster.replicas("v1"), cluster.replicas("v2")) == (3, 2)
