"""Rollouts with the real chart, Helm, Kubernetes client and servers, on a small API server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bertqa.errors import InvalidOptionError
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.target import ReleaseTarget
from bertqa_deploy.errors import (
    ClusterError,
    InconclusiveError,
    NothingToDoError,
    RolledBackError,
    SwitchedMeanwhileError,
    SwitchUnfinishedError,
)
from bertqa_deploy.rollout import Counts, Judgement, Limits, Plan, Rollout, Verdict
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import GATEWAY, Install, traffic
from tests.deploy.conftest import SMOKE
from tests.deploy.helm.golden import chart_version
from tools.programs import helm, older_helm

TO_1, TO_2 = {1: 100.0}, {2: 100.0}
AT_ONCE = Plan()
IN_STEPS = Plan(steps=(50, 100))
V1 = {"stable": {"version": 1, "weight": 100, "replicas": 1}}
V2 = {"v2": {"version": 2, "weight": 100, "replicas": 1}}
SERVICE = "bert-qa"
NO_HTTP = ("--set", "httpApi.enabled=false")


def held(seconds: float = 3.0, **limits: Any) -> Plan:
    """Steps at which is judged by few requests."""
    chosen = Limits(**{"requests": 5, "p95_factor": 100, **limits})
    return Plan((50, 100), seconds, interval_seconds=0.2, limits=chosen)


def target_of(release: Helm, patience: float = 20, smoke: Any = SMOKE) -> ReleaseTarget:
    return ReleaseTarget(HelmCluster(release, patience=patience), smoke)


def rollout(release: Helm, plan: Plan = AT_ONCE, **options: Any) -> Rollout:
    return Rollout(target_of(release, **options), plan)


def revision(release: Helm) -> int:
    return release.settle()


def shares(api: ApiServer) -> list[dict[str, int]]:
    """The weights as they changed, one after the other, by track."""
    short = [{k.removeprefix("bert-qa-"): v for k, v in each.items()} for each in api.weights]
    return [each for number, each in enumerate(short) if not number or each != short[number - 1]]


@pytest.fixture(autouse=True)
def there_is_always_a_ready_pod(api: ApiServer) -> Iterator[None]:
    yield
    assert SERVICE not in api.outages


def test_a_candidate_gets_traffic_in_steps_and_stays(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY, "--set", "podLabels.team=qa")
    api.drains = 3
    with traffic(api, servers):
        moved = rollout(release, held()).move(TO_2)

    assert shares(api) == [
        {"stable": 100},
        {"stable": 100, "v2": 0},
        {"stable": 50, "v2": 50},
        {"stable": 0, "v2": 100},
        {"v2": 100},
    ]
    assert moved.target == "release bert-qa"
    assert (moved.split, moved.served, moved.retired) == (TO_2, [2], [1])
    assert release.tracks() == V2
    values = release.values()
    assert values["podLabels"] == {"team": "qa"}
    assert values["gateway"]["enabled"] is True
    assert values["rollout"] == {
        "good": "2=100",
        "goal": "",
        "previous": "1=100",
        "returning": False,
        "held": "",
    }
    assert {pod.version for pod in HelmCluster(release).pods()} == {"2"}


@pytest.mark.parametrize("program", [helm, pytest.param(older_helm, marks=pytest.mark.thorough)])
def test_without_a_gateway_one_upgrade_leads_the_service_to_the_other_track_and_back(
    install: Install, api: ApiServer, program: Callable[[], Path]
) -> None:
    release = install(program=program())
    operated = rollout(release)

    assert operated.move(TO_2).split == TO_2
    assert api.leads_to(SERVICE) == {"bert-qa-v2-0"}
    assert revision(release) == 5

    assert operated.back().split == TO_1
    assert api.leads_to(SERVICE) == {"bert-qa-v1-0"}
    assert list(release.tracks()) == ["v1"]

    assert operated.move(TO_2).split == TO_2


@pytest.mark.thorough
def test_a_split_stays_until_it_is_given_back(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)

    rollout(release, IN_STEPS).move({1: 90.0, 2: 10.0})
    assert {name: track["weight"] for name, track in release.tracks().items()} == {
        "stable": 90,
        "v2": 10,
    }

    assert rollout(release).back().split == TO_1
    assert release.tracks() == V1


def test_a_track_without_traffic_that_its_owner_made_is_taken(
    install: Install, api: ApiServer
) -> None:
    track = "tracks.canary.version=2,tracks.canary.weight=0,tracks.canary.replicas=1"
    release = install(*GATEWAY, "--set", track)

    rollout(release).move(TO_2)

    assert list(release.tracks()) == ["canary"]


def test_a_name_that_another_version_has_is_left_to_it(install: Install, api: ApiServer) -> None:
    only = "tracks.stable=null,tracks.v2.version=1,tracks.v2.weight=100,tracks.v2.replicas=1"
    release = install("--set", only)

    rollout(release).move(TO_2)

    assert list(release.tracks()) == ["v2-2"]


def test_a_newcomer_has_as_many_pods_as_the_track_with_the_traffic_runs(
    install: Install, api: ApiServer
) -> None:
    release = install("--set", "autoscaling.enabled=true,autoscaling.maxReplicas=5")
    api.scale("bert-qa-stable", 4)
    counts = []
    target = target_of(release)

    def count(good: int, candidate: int) -> Judgement:
        counts.append((api.replicas_of("bert-qa-stable"), api.replicas_of("bert-qa-v2")))
        return Judgement(Verdict.SUCCESSFUL, "It was counted.")

    Rollout(target, evidence=[count]).move(TO_2)

    assert counts == [(4, 4)]
    assert api.replicas_of("bert-qa-v2") == 4


def test_failing_requests_bring_the_good_version_back(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY)
    with (
        traffic(api, servers, broken=2),
        pytest.raises(RolledBackError, match=r"returned to 1=100: .* of .* requests failed"),
    ):
        rollout(release, held()).move(TO_2)
    assert release.tracks() == V1


@pytest.mark.thorough
def test_a_slow_candidate_is_rolled_back(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY)
    message = r"95th percentile of its latency is .* ms .*, and 3 times the .* ms of version 1"
    with traffic(api, servers, slow=2), pytest.raises(RolledBackError, match=message):
        rollout(release, held(5, p95_factor=3, requests=2)).move(TO_2)
    assert release.tracks() == V1


@pytest.mark.thorough
def test_no_requests_are_not_a_success_and_the_same_command_measures_again(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY)
    with pytest.raises(InconclusiveError, match="Version 2 got 0 of at least 5 requests"):
        rollout(release, held(0.2)).move(TO_2)
    assert {name: track["weight"] for name, track in release.tracks().items()} == {
        "stable": 50,
        "v2": 50,
    }

    # The same command measures again.
    with traffic(api, servers):
        assert rollout(release, held()).move(TO_2).split == TO_2


@pytest.mark.thorough
def test_a_restart_of_a_candidates_server_is_a_failure(
    install: Install, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install(*GATEWAY)
    target = target_of(release)
    read = target.observe

    def observe(version: int) -> Mapping[str, Counts]:
        found = read(version)
        if version == 2 and not api.restarts:
            api.change(restarted=["bert-qa-v2-0"])
        return found

    monkeypatch.setattr(target, "observe", observe)
    with pytest.raises(RolledBackError, match=r"restarted while it was held \(bert-qa-v2-0\)"):
        Rollout(target, held(0.5)).move(TO_2)


@pytest.mark.thorough
def test_pods_that_are_not_ready_count(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY)
    target = target_of(release)
    api.change(unready=["bert-qa-stable-0"])
    api.outages.clear()

    assert list(target.observe(1)) == ["bert-qa-stable-0"]


def test_a_wrong_answer_is_found_before_there_is_any_traffic(
    install: Install, api: ApiServer
) -> None:
    release = install(*GATEWAY)
    smoke = type(SMOKE)("When?", "no 1932", "no 1")
    with pytest.raises(RolledBackError, match="where 'no 1' is right"):
        rollout(release, smoke=smoke).move(TO_2)
    assert all(each.get("v2", 0) == 0 for each in shares(api))
    assert release.tracks() == V1


@pytest.mark.parametrize("flags", [(), GATEWAY])
def test_a_version_that_never_becomes_ready_is_taken_away(
    install: Install, api: ApiServer, flags: tuple[str, ...]
) -> None:
    release = install(*flags)
    with pytest.raises(RolledBackError, match="Waited 2 s in vain for bert-qa-v9 to roll out"):
        rollout(release, patience=2).move({9: 100.0})
    assert list(release.tracks()) == ["stable"]
    assert api.leads_to(SERVICE) == {"bert-qa-stable-0"}


def test_a_candidate_that_breaks_never_blocks_the_way_back(
    install: Install, api: ApiServer
) -> None:
    release = install(*GATEWAY)
    with pytest.raises(InconclusiveError):
        rollout(release, held(0.2)).move(TO_2)
    api.change(unready=["bert-qa-v2-0"])

    assert rollout(release, patience=2).back().split == TO_1
    assert release.tracks() == V1


@pytest.mark.thorough
def test_pods_that_do_not_end_are_named_and_the_same_command_waits_for_them(
    install: Install, api: ApiServer
) -> None:
    release = install()
    api.drains = 10
    with pytest.raises(
        SwitchUnfinishedError, match="Waited 1 s in vain for bert-qa-stable-0 to end"
    ):
        rollout(release, patience=1).move(TO_2)

    assert rollout(release).move(TO_2).split == TO_2
    with pytest.raises(NothingToDoError):
        rollout(release).move(TO_2)


def test_the_same_version_is_refused(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    with pytest.raises(NothingToDoError, match="The split is 1=100 already"):
        rollout(release).move(TO_1)
    with pytest.raises(NothingToDoError, match="nothing to go back to"):
        rollout(release).back()
    assert revision(release) == 1


@pytest.mark.thorough
def test_weights_that_the_owner_changed_are_good_and_can_be_given_back(
    install: Install, api: ApiServer
) -> None:
    release = install(*GATEWAY)
    rollout(release).move({1: 50.0, 2: 50.0})
    release.upgrade(
        {name: {**t, "weight": 80 if name == "v2" else 20} for name, t in release.tracks().items()}
    )

    assert rollout(release).back().split == {1: 50.0, 2: 50.0}


@pytest.mark.parametrize(
    ("goal", "plan", "flags", "complaint"),
    [
        (
            {1: 90.0, 2: 10.0},
            AT_ONCE,
            NO_HTTP,
            "Without a gateway .* the split 1=90,2=10 is not poss",
        ),
        (TO_2, IN_STEPS, NO_HTTP, "Without a gateway .* the split 1=50,2=50 is not possible"),
        ({1: 99.5, 2: 0.5}, AT_ONCE, GATEWAY, "1=99.5,2=0.5 is not of whole percents"),
        ({2: 50.0, 3: 50.0}, AT_ONCE, GATEWAY, "serves version 1, and a rollout is between two"),
    ],
)
def test_what_a_release_cannot_do_is_refused_before_anything_is_done(
    install: Install,
    api: ApiServer,
    goal: dict[int, float],
    plan: Plan,
    flags: tuple[str, ...],
    complaint: str,
) -> None:
    release = install(*flags)
    with pytest.raises((ClusterError, InvalidOptionError), match=complaint):
        rollout(release, plan).move(goal)
    assert revision(release) == 1


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("kserve.enabled=true",), "KServe moves the traffic of this release"),
        (
            ("tracks.a.version=2,tracks.a.weight=0", "tracks.b.version=3,tracks.b.weight=0"),
            "has the tracks a, b, stable: a switch is between two",
        ),
        (("tracks.a.version=1,tracks.a.weight=0",), "The tracks a and stable have the same"),
    ],
)
def test_a_release_of_another_kind_is_refused(
    install: Install, api: ApiServer, flags: tuple[str, ...], complaint: str
) -> None:
    release = install(*(part for flag in flags for part in ("--set", flag)))
    with pytest.raises(ClusterError, match=complaint):
        rollout(release).move(TO_2)
    with pytest.raises(ClusterError, match=complaint):
        rollout(release).back()
    assert revision(release) == 1


def test_a_second_operator_is_noticed(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    target = target_of(release)

    def other(good: int, candidate: int) -> Judgement:
        release.upgrade({})
        return Judgement(Verdict.SUCCESSFUL, "An upgrade came meanwhile.")

    with pytest.raises(SwitchedMeanwhileError, match="revision 3, where 2 was read"):
        Rollout(target, evidence=[other]).move(TO_2)
    assert release.tracks()["stable"]["weight"] == 100


def test_another_chart_is_refused(install: Install, api: ApiServer, tmp_path: Path) -> None:
    release = install()
    (tmp_path / "Chart.yaml").write_text("name: bert-qa\nversion: 9.9.9\n", encoding="utf-8")
    other = Helm(release.release, release.access, tmp_path, program=release.program)
    with pytest.raises(
        ClusterError, match=rf"chart version {re.escape(chart_version())}, and .* is 9\.9\.9"
    ):
        HelmCluster(other)


@pytest.mark.parametrize(("what", "complaint"), [("secrets", "release"), ("pods", "look at pods")])
def test_without_permission_nothing_is_done(
    install: Install, api: ApiServer, what: str, complaint: str
) -> None:
    release = install()
    api.forbidden.add(what)
    with pytest.raises(ClusterError, match=f"You may not .*{complaint}"):
        HelmCluster(release).pods()


def test_without_helm_it_is_said_so(install: Install, api: ApiServer) -> None:
    release = install()
    with pytest.raises(ClusterError, match="no helm-of-nowhere on PATH"):
        Helm(release.release, release.access, release.chart, program="helm-of-nowhere").values()
