"""What a switch waits for on a cluster: it says so, and does not wait for what never comes."""

from __future__ import annotations

import pytest
from kubernetes import client

from bertqa_deploy.cluster.latest import put_numbers
from bertqa_deploy.cluster.pods import Pods
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.target import ReleaseTarget
from bertqa_deploy.cluster.traffic import release_of
from bertqa_deploy.cluster.trouble import trouble_of
from bertqa_deploy.cluster.waiting import Waiting
from bertqa_deploy.errors import ClusterError, RolledBackError
from bertqa_deploy.rollout import Rollout
from bertqa_deploy.waiting import Patience
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import Install
from tests.deploy.conftest import SMOKE

LATEST = ("--set", "tracks.stable.version=latest")
NINE = {9: 100.0}


def test_a_version_that_is_not_in_the_repository_is_not_waited_for(
    install: Install, api: ApiServer
) -> None:
    release = install()
    api.lacking = True
    target = ReleaseTarget(HelmCluster(release, patience=600), SMOKE)
    with pytest.raises(
        RolledBackError, match=r"There is no version 9 of bert-qa in the .* bert-qa-v9"
    ):
        Rollout(target).move(NINE)
    assert list(release.tracks()) == ["stable"]


def test_a_version_of_an_object_store_may_be_on_its_way(install: Install, api: ApiServer) -> None:
    release = install("--set", "model.pvc.claimName=", "--set", "model.storage.uri=s3://qa/models")
    api.lacking = True
    target = ReleaseTarget(HelmCluster(release, patience=2), SMOKE)
    with pytest.raises(RolledBackError, match=r"in vain for bert-qa-v9 to roll out"):
        Rollout(target).move(NINE)


@pytest.mark.parametrize(
    ("waits", "said"),
    [
        (
            {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
            r"bert-qa-v9-0: ovms waits: ImagePullBackOff: no such image",
        ),
        ({"terminated": {"exitCode": 137}}, "bert-qa-v9-0: ovms ended with status 137"),
        ({"waiting": {"reason": "ContainerCreating"}}, r"bert-qa-v9 to roll out\. "),
    ],
)
def test_why_pods_are_not_ready_is_said(
    install: Install, api: ApiServer, waits: dict[str, dict[str, object]], said: str
) -> None:
    release = install()
    api.waits = waits
    release.upgrade({"v9": {"version": 9, "weight": 0}})
    with pytest.raises(ClusterError, match=said):
        Pods(release.release, release.access).wait_until_rolled_out(["v9"], Waiting(0))


@pytest.mark.parametrize(
    ("container", "restarts", "said"),
    [
        ("verify-model", 1, r"bert-qa-v9-0 does not serve version 9, which cannot be verified"),
        ("verify-model", 0, "in vain for .* verify-model ended with status 1"),
        ("model", 1, "in vain for .* model ended with status 1"),
    ],
)
def test_a_version_that_is_refused_again_when_it_is_verified_is_not_waited_for(
    install: Install, api: ApiServer, container: str, restarts: int, said: str
) -> None:
    release = install()
    api.before = [
        {
            "name": container,
            "image": "client",
            "imageID": "client",
            "ready": False,
            "restartCount": restarts,
            "state": {"terminated": {"exitCode": 1}},
        }
    ]
    target = ReleaseTarget(HelmCluster(release, patience=2), SMOKE)
    with pytest.raises(RolledBackError, match=said):
        Rollout(target).move(NINE)
    assert list(release.tracks()) == ["stable"]


def test_why_pods_are_not_made_is_said(install: Install, api: ApiServer) -> None:
    release = install()
    api.failure = {"reason": "FailedCreate", "message": "exceeded quota: cpus"}
    release.upgrade({"v9": {"version": 9, "weight": 0}})
    said = r"bert-qa-v9: FailedCreate: exceeded quota: cpus\)\. .*describe deployments,pods"
    with pytest.raises(ClusterError, match=said):
        Pods(release.release, release.access).wait_until_rolled_out(["v9"], Waiting(0))


def test_a_pod_that_its_node_refused_says_why() -> None:
    refused = client.V1PodStatus(phase="Failed", reason="TopologyAffinityError", message="no cores")
    assert trouble_of(refused) == "TopologyAffinityError: no cores"
    assert trouble_of(client.V1PodStatus(phase="Failed")) == "the pod has failed"


def test_what_is_waited_for_is_said_at_doubled_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(41))
    monkeypatch.setattr("bertqa_deploy.waiting.time.monotonic", lambda: next(clock))
    said: list[str] = []
    patience = Patience(30, said.append)
    ended = [patience.is_over("a pod") for _ in range(40)]
    assert said == [f"waiting for a pod ({each} s of at most 30 s)" for each in (5, 10, 20)]
    assert ended.index(True) == 29


def test_a_track_that_follows_the_newest_version_is_pinned_by_a_rollout(
    install: Install, api: ApiServer
) -> None:
    release = install(*LATEST)
    said: list[str] = []
    target = ReleaseTarget(HelmCluster(release, patience=20), SMOKE, said.append)

    assert Rollout(target).move({1: 100.0}).previous == {2: 100.0}
    assert "the track stable stays at version 2: it followed the newest" in said
    assert {each["version"] for each in release.tracks().values()} == {1}
    assert Rollout(target).back().split == {2: 100.0}
    assert not api.outages


def test_a_track_whose_newest_version_is_not_known_is_refused(
    install: Install, api: ApiServer
) -> None:
    release = install(*LATEST)
    api.change(unready=["bert-qa-stable-0"])
    values = release.values()
    assert put_numbers(values, Pods(release.release, release.access)) == {}
    target = ReleaseTarget(HelmCluster(release, patience=2), SMOKE)
    with pytest.raises(ClusterError, match="stable follows the newest version, and none of its"):
        Rollout(target).move({1: 100.0})


def test_a_return_to_a_version_without_a_ready_pod_is_not_waited_for(
    install: Install, api: ApiServer
) -> None:
    release = install("--set", "httpApi.enabled=false")
    api.change(unready=["bert-qa-stable-0"])
    api.lacking = True
    with pytest.raises(RolledBackError, match="There is no version 9"):
        Rollout(ReleaseTarget(HelmCluster(release, patience=20), SMOKE)).move(NINE)
    assert [track["version"] for track in release.tracks().values()] == [1]


def test_traffic_is_led_away_from_a_version_without_a_ready_pod(
    install: Install, api: ApiServer
) -> None:
    release = install("--set", "httpApi.enabled=false")
    api.change(unready=["bert-qa-stable-0"])
    cluster = HelmCluster(release, patience=20)
    target = ReleaseTarget(cluster, SMOKE)
    assert target.unready(release_of(cluster.values())) == {1}
    assert Rollout(target).move({2: 100.0}).split == {2: 100.0}
    assert target.unready(release_of(cluster.values())) == set()
    assert [track["version"] for track in release.tracks().values()] == [2]
