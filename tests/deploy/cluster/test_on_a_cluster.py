"""The switch on a real cluster, under the conditions of the chart's own test."""

from __future__ import annotations

from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.rollout import HelmCluster, Rollout
from bertqa_deploy.cluster.status import track_statuses
from tests.deploy.helm.chart import CHART
from tests.deploy.helm.test_cluster import Release, pytestmark, release, values
from tests.deploy.tools import helm

__all__ = ["pytestmark", "release"]


def test_a_release_switches_and_returns(release: Release) -> None:
    release.upgrade(values())
    installed = Helm(release.name, release.namespace[1], CHART, program=str(helm()))
    rollout = Rollout(HelmCluster(installed), steps=(100,), pause_seconds=10)

    assert rollout.move({2: 100.0})["stable"]["version"] == 2
    assert release.versions() == {"stable": "2"}
    release.test()

    assert rollout.back()["stable"]["version"] == 1
    (status,) = track_statuses(installed)
    assert (status.version, status.weight, status.ready) == ("1", 100, 1)
    release.test()
