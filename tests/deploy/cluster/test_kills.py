"""Rollouts of a release that were killed: at each change that Helm makes, and in its midst.

What a killed process leaves is what the cluster has stored. So it is recorded before each change of
one rollout, and each of these states is taken up, by the same command and by a return.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from bertqa_deploy.cluster import helm as helm_module
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.errors import ClusterError, NothingToDoError, RolledBackError
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import CHART, GATEWAY, NAMESPACE, RELEASE, Install
from tests.deploy.cluster.test_target import SERVICE, TO_2, V1, rollout

UPGRADES = ("adds a track", "weighs the tracks", "removes a track", "notes the end")


@pytest.fixture(autouse=True)
def nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is pending was killed."""
    monkeypatch.setattr(helm_module, "_PENDING_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def there_is_always_a_ready_pod(api: ApiServer) -> Iterator[None]:
    yield
    assert SERVICE not in api.outages


def recorded(api: ApiServer, go: Callable[[], object]) -> list[list[Any]]:
    """Do something, and return the different states before each change, by the upgrade."""
    upgrades: list[list[Any]] = []

    def record(change: str) -> None:
        if change.startswith("POST secrets"):
            upgrades.append([])
        state = api.saved()
        if not upgrades[-1] or upgrades[-1][-1] != state:
            upgrades[-1].append(state)

    api.on_write = record
    go()
    api.on_write = lambda _: None
    upgrades[-1].append(api.saved())
    return upgrades


def returned(release: Helm) -> None:
    """Return from whatever is under way; before the first effect that is nothing."""
    with suppress(NothingToDoError):
        rollout(release).back()


@pytest.mark.thorough
@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("gateway", [False, True], ids=["service", "gateway"])
def test_a_killed_rollout_is_resumed_and_returned_from_each_of_its_changes(
    install: Install, api: ApiServer, upgrade: str, gateway: bool
) -> None:
    release = install(*(GATEWAY if gateway else ()))
    if gateway and upgrade != UPGRADES[1]:
        pytest.skip("differs from that without a gateway in the weights alone")
    upgrades = recorded(api, lambda: rollout(release).move(TO_2))
    assert len(upgrades) == len(UPGRADES)
    states = upgrades[UPGRADES.index(upgrade)]
    assert len(states) > 3

    for state in states:
        api.restore(state)
        try:
            assert rollout(release).move(TO_2).split == TO_2
        except NothingToDoError:
            assert state is upgrades[-1][-1]
        assert [track["version"] for track in release.tracks().values()] == [2]
        assert release.values()["rollout"]["goal"] == ""
        assert api.leads_to(SERVICE) == {"bert-qa-v2-0"}
        assert api.tracks_with_pods() == {"v2"}

        api.restore(state)
        returned(release)
        assert [track["version"] for track in release.tracks().values()] == [1]
        assert [api.version_of(f"bert-qa-{track}") for track in api.tracks_with_pods()] == [1]
        assert release.values()["rollout"]["goal"] == ""


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.thorough)])
def test_a_return_that_was_killed_at_its_end_is_finished_by_the_same_command(
    install: Install, api: ApiServer, every: int
) -> None:
    release = install()
    rollout(release).move(TO_2)
    *_, states = recorded(api, lambda: rollout(release).back())
    for state in states[:-1:every]:
        api.restore(state)
        assert rollout(release).back().split == {1: 100.0}
        assert release.values()["rollout"]["goal"] == ""


def kill_helm_at(api: ApiServer, change: str) -> None:
    """Kill Helm, for good, right before it makes a change."""

    def kill(now: str) -> None:
        if now.startswith(change):
            api.on_write = lambda _: None
            for child in psutil.Process().children(recursive=True):
                if child.name() == "helm":
                    child.kill()

    api.on_write = kill


def change_pods(release: Helm) -> int:
    """Upgrade the release as its owner does, in more than its traffic."""
    command = [release.program, "upgrade", RELEASE, str(CHART), "--namespace", NAMESPACE]
    changes = ["--reset-then-reuse-values", "--set", "podLabels.team=qa"]
    return subprocess.run([*command, *changes], check=False, capture_output=True).returncode


@pytest.mark.thorough
def test_where_helm_alone_is_killed_the_traffic_returns(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    kill_helm_at(api, "PATCH deployments/bert-qa-v2")
    with pytest.raises(RolledBackError, match="returned to 1=100: helm: ended with status -9"):
        rollout(release).move(TO_2)
    assert release.tracks() == V1
    assert api.tracks_with_pods() == {"stable"}

    def kill_the_second(now: str) -> None:
        if now.startswith("PATCH httproutes/bert-qa"):
            kill_helm_at(api, "PATCH grpcroutes/bert-qa")

    api.on_write = kill_the_second
    with pytest.raises(RolledBackError, match="helm: ended with status -9"):
        rollout(release).move(TO_2)
    assert release.tracks() == V1
    assert release.values()["rollout"]["goal"] == ""
    assert api.weights[-1] == {"bert-qa-stable": 100}
    assert rollout(release).move(TO_2).split == TO_2


def test_an_upgrade_whose_helm_ended_with_an_error_after_all_was_done_is_not_anothers(
    install: Install, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install()
    upgrade = release._upgrade_to

    def lost(values: Any) -> int:
        monkeypatch.undo()
        upgrade(values)
        raise ClusterError("The cluster cannot be reached.")

    monkeypatch.setattr(release, "_upgrade_to", lost)
    with pytest.raises(RolledBackError, match="returned to 1=100: The cluster cannot be reached"):
        rollout(release).move(TO_2)
    assert release.tracks() == V1


def test_an_upgrade_that_is_under_way_is_waited_for(
    install: Install, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install()
    upgrades = recorded(api, lambda: rollout(release).move(TO_2))
    slept = []

    def complete(seconds: float) -> None:
        slept.append(seconds)
        api.restore(upgrades[1][0])

    monkeypatch.setattr(helm_module, "_PENDING_SECONDS", 600.0)
    monkeypatch.setattr("time.sleep", complete)
    api.restore(upgrades[0][2])
    assert release.settle() == 2
    assert slept
    assert set(release.tracks()) == {"stable", "v2"}


@pytest.mark.thorough
def test_what_its_owner_changes_is_not_undone(install: Install, api: ApiServer) -> None:
    release = install()
    kill_helm_at(api, "PATCH deployments/bert-qa-stable")
    assert change_pods(release) != 0

    with pytest.raises(ClusterError, match="is pending-upgrade, and changes more than its traffic"):
        rollout(release).move(TO_2)
    with pytest.raises(ClusterError, match="`helm rollback bert-qa 1`"):
        rollout(release).back()

    command = [release.program, "rollback", RELEASE, "1", "--namespace", NAMESPACE]
    subprocess.run(command, check=True, capture_output=True)
    assert rollout(release).move(TO_2).split == TO_2
    assert api.tracks_with_pods() == {"v2"}
