"""A value that is null means to a rollout what it means to the chart."""

from __future__ import annotations

import pytest
import yaml

from bertqa_deploy.cluster.defaults import with_defaults
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.status import standing_of, track_statuses
from bertqa_deploy.cluster.target import ReleaseTarget
from bertqa_deploy.cluster.traffic import release_of
from bertqa_deploy.rollout import Rollout
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import CHART, Install
from tests.deploy.conftest import SMOKE


def test_the_defaults_are_those_of_the_chart() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    found = with_defaults({})
    assert found["tracks"] == values["tracks"]
    assert found["model"]["name"] == values["model"]["name"]
    assert found["model"]["storage"]["uri"] == values["model"]["storage"]["uri"]
    assert found["httpApi"]["enabled"] == values["httpApi"]["enabled"]
    assert with_defaults(values) == values


def test_a_default_is_not_changed_with_what_is_made_of_it() -> None:
    with_defaults({})["tracks"]["stable"]["version"] = 2
    assert with_defaults({})["tracks"]["stable"]["version"] == "latest"


@pytest.mark.parametrize("key", ["model", "model.name", "httpApi", "rollout"])
def test_a_release_with_null_is_switched(install: Install, api: ApiServer, key: str) -> None:
    cluster = HelmCluster(install("--set", f"{key}=null"), patience=20)
    assert release_of(cluster.values()).answers_http
    assert Rollout(ReleaseTarget(cluster, SMOKE)).move({2: 100.0}).split == {2: 100.0}
    assert not api.outages


def test_a_release_whose_tracks_are_null_has_the_charts(install: Install, api: ApiServer) -> None:
    release = install("--set", "tracks=null")
    assert [(each.track, each.serves) for each in track_statuses(release)] == [("stable", 2)]
    assert standing_of(release).split == {2: 100.0}
    target = ReleaseTarget(HelmCluster(release, patience=20), SMOKE)
    assert Rollout(target).move({1: 100.0}).previous == {2: 100.0}
    assert {each["version"] for each in release.tracks().values()} == {1}
    assert not api.outages


def test_a_release_whose_objects_are_in_another_namespace_is_switched(
    install: Install, api: ApiServer
) -> None:
    release = install("--set", "namespaceOverride=elsewhere")
    assert [each.serves for each in track_statuses(release) if each.ready] == [1]
    target = ReleaseTarget(HelmCluster(release, patience=20), SMOKE)
    assert Rollout(target).move({2: 100.0}).served == [2]
    assert not api.outages
