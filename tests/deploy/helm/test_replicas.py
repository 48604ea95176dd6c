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
        done = self.tried({"tracks": {"stable": None, **tracks}})
        assert done.returncode == 0, done.stderr

    def tried(self, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        flags = ["--install", "--namespace", NAMESPACE, "--values", str(SCENARIOS["pvc"])]
        return subprocess.run(
            [str(self.program), "upgrade", RELEASE, str(CHART), *flags, "--values", "-"],
            input=json.dumps({"autoscaling": self.autoscaling, **values}),
            capture_output=True,
            text=True,
            check=False,
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
    before = {"stable": track(1, 100, replicas=5), "next": track(2, 0, replicas=6)}
    cluster.upgrade(**before)
    cluster.autoscaling = autoscaling
    cluster.upgrade(**before)
    assert (cluster.replicas("stable"), cluster.replicas("next")) == (5, 6)


@autoscalers
def test_an_autoscaler_is_not_turned_on_for_more_pods_than_it_allows(
    cluster: Cluster, autoscaling: dict[str, Any]
) -> None:
    cluster.upgrade(stable=track(1, 100, replicas=10), next=track(2, 0, replicas=11))
    cluster.autoscaling = autoscaling
    refused = cluster.tried({})
    assert refused.returncode != 0
    assert (
        "autoscaling.enabled would take pods away: bert-qa-stable runs 10 pods, and "
        "autoscaling.maxReplicas is 8."
    ) in refused.stderr
    cluster.autoscaling = {**autoscaling, "maxReplicas": 10}
    cluster.upgrade(stable=track(1, 100, replicas=10), next=track(2, 0, replicas=11))
    assert (cluster.replicas("stable"), cluster.replicas("next")) == (10, 11)
    cluster.autoscaling = {**autoscaling, "maxReplicas": 4}
    cluster.upgrade(stable=track(1, 0, replicas=10), next=track(2, 100, replicas=11))


@autoscalers
def test_a_track_that_an_upgrade_adds_with_its_weight_begins_with_the_fewest_pods(
    cluster: Cluster, autoscaling: dict[str, Any]
) -> None:
    cluster.autoscaling = {**autoscaling, "minReplicas": 3}
    cluster.upgrade(v1=track(1, 100))
    cluster.upgrade(v1=track(1, 50), v2=track(2, 50))
    assert cluster.replicas("v2") == 3


def test_turning_the_autoscaler_of_the_http_api_on_keeps_the_pods_that_run(
    cluster: Cluster,
) -> None:
    def tried(**api: Any) -> subprocess.CompletedProcess[str]:
        return cluster.tried({"httpApi": api})

    assert tried(replicas=10).returncode == 0
    refused = tried(replicas=10, autoscaling={"enabled": True})
    assert "bert-qa-http-api runs 10 pods, and httpApi.autoscaling.maxReplicas is 8" in (
        refused.stderr
    )
    assert tried(replicas=6).returncode == 0
    assert tried(replicas=2, autoscaling={"enabled": True}).returncode == 0
    assert cluster.replicas("http-api") == 6
    cluster.scale("http-api", 0)
    assert tried(autoscaling={"enabled": True, "minReplicas": 3}).returncode == 0
    assert cluster.replicas("http-api") == 3


def test_a_release_that_runs_is_not_put_under_kserve_or_taken_from_it(cluster: Cluster) -> None:
    kserve = {"kserve": {"enabled": True, "mode": "standard"}}
    assert cluster.tried({}).returncode == 0
    assert (
        "The release runs as the Deployment bert-qa-stable, whose pods would go before those of "
        "KServe are ready"
    ) in cluster.tried(kserve).stderr
    httpx.delete(f"{cluster.url}-stable").raise_for_status()
    assert cluster.tried(kserve).returncode == 0
    assert cluster.tried(kserve).returncode == 0
    assert "The release runs as the InferenceService bert-qa" in cluster.tried({}).stderr


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
