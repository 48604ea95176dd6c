"""How a rollout ends where pods stay, where a release is of another chart, or Helm is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.status import standing_of, track_statuses
from bertqa_deploy.errors import (
    ClusterError,
    NothingToDoError,
    SwitchedMeanwhileError,
    SwitchUnfinishedError,
)
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import CHART, RELEASE, Install
from tests.deploy.cluster.test_target import TO_1, TO_2, rollout


@pytest.mark.parametrize("gone", [False, True])
def test_a_return_whose_pods_do_not_end_is_finished_and_not_undone_by_the_same_command(
    install: Install, api: ApiServer, gone: bool
) -> None:
    release = install()
    rollout(release).move(TO_2)
    api.drains = 10
    with pytest.raises(SwitchUnfinishedError, match="Run the same command again to wait"):
        rollout(release, patience=1).back()

    cluster, tracks = HelmCluster(release), release.tracks()
    while gone and not cluster.has_only(tracks):
        pass
    assert rollout(release).back().split == TO_1
    with pytest.raises(NothingToDoError, match="1=100 is the last good split"):
        rollout(release).back()


def test_a_program_that_is_not_helm_is_named(
    install: Install, api: ApiServer, tmp_path: Path
) -> None:
    release = install()
    other = tmp_path / "helm"
    other.write_text("#!/bin/sh\necho hello\n", encoding="utf-8")
    other.chmod(0o755)
    with pytest.raises(ClusterError, match="helm get does not print JSON"):
        Helm(release.release, release.access, release.chart, program=str(other)).values()


@pytest.mark.parametrize(
    "said",
    [
        "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
        "Error: UPGRADE FAILED: release: already exists",
    ],
)
def test_an_upgrade_of_another_process_at_the_same_time_is_named(
    install: Install, api: ApiServer, tmp_path: Path, said: str
) -> None:
    release = install()
    busy = tmp_path / "helm"
    script = (
        f'[ "$1" = upgrade ] && {{ echo "{said}" >&2; exit 1; }}\nexec {release.program} "$@"\n'
    )
    busy.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
    busy.chmod(0o755)
    other = Helm(release.release, release.access, release.chart, program=str(busy))
    with pytest.raises(SwitchedMeanwhileError, match="Another process is changing the release"):
        other.upgrade({"v2": {"version": 2, "weight": 0}})


def test_a_release_of_another_chart_is_named(
    install: Install, api: ApiServer, tmp_path: Path
) -> None:
    release = install()
    chart = tmp_path / "web"
    (chart / "templates").mkdir(parents=True)
    content = "apiVersion: v2\nname: web\nversion: 0.1.0\n"
    (chart / "Chart.yaml").write_text(content, encoding="utf-8")
    command = [release.program, "install", "web", str(chart), *release.access.helm_flags()]
    subprocess.run(command, check=True, capture_output=True)
    web = Helm("web", release.access, release.chart, program=release.program)
    looks: list[Callable[[Helm], object]] = [track_statuses, standing_of, HelmCluster]
    for look in looks:
        with pytest.raises(ClusterError, match="release web is of the chart web, not of bert-qa"):
            look(web)
    here = Helm(release.release, release.access, chart, program=release.program)
    with pytest.raises(ClusterError, match="is the chart web, not bert-qa"):
        HelmCluster(here)


def test_what_was_changed_by_hand_is_named_and_taken_over_by_its_owner_alone(
    install: Install, api: ApiServer
) -> None:
    release = install()
    api.by_hand.add(("deployments", "bert-qa-stable"))
    said = "kubectl has changed the Deployment bert-qa-stable by hand (.spec.replicas)"
    with pytest.raises(SwitchUnfinishedError) as caught:
        rollout(release).move(TO_2)
    assert said in str(caught.value)
    assert "was not completed, for the same reason" in str(caught.value)
    assert "--reset-then-reuse-values --force-conflicts" in str(caught.value)

    command = [release.program, "upgrade", RELEASE, str(CHART), *release.access.helm_flags()]
    flags = ("--reset-then-reuse-values", "--force-conflicts")
    subprocess.run([*command, *flags], check=True, capture_output=True)
    api.by_hand.clear()
    rollout(release).move(TO_2)
    assert [each["version"] for each in release.tracks().values()] == [2]
