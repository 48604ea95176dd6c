"""Rollouts with the real chart, Helm, Kubernetes client and servers, on a small API server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from bertqa.errors import InvalidOptionError
from bertqa.evaluation import parse_squad
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.rollout import Limits, Rollout
from bertqa_deploy.errors import ClusterError, NothingToDoError, RolledBackError
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import GATEWAY, NAMESPACE, Install, traffic
from tests.deploy.conftest import SMOKE
from tests.support.ports import free_port
from tools.programs import helm, older_helm

TO_2 = {2: 100.0}


def rollout(release: Helm, patience: float = 20, **options: Any) -> Rollout:
    steps: list[str] = []
    settings = {"smoke": SMOKE, "steps": (50, 100), "pause_seconds": 0.3, "on_step": steps.append}
    return Rollout(HelmCluster(release, patience=patience), **{**settings, **options})


def shares(api: ApiServer) -> list[dict[str, int]]:
    """The weights as they changed, one after the other, by track."""
    short = [{k.removeprefix("bert-qa-"): v for k, v in each.items()} for each in api.weights]
    return [each for number, each in enumerate(short) if not number or each != short[number - 1]]


def test_a_candidate_gets_traffic_in_steps_and_is_promoted(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY, "--set", "podLabels.team=qa")
    with traffic(api, servers):
        tracks = rollout(release, limits=Limits(p95_factor=100)).move(TO_2)

    assert shares(api) == [
        {"stable": 100},
        {"stable": 100, "candidate": 0},
        {"stable": 50, "candidate": 50},
        {"stable": 0, "candidate": 100},
        {"stable": 100, "candidate": 0},
        {"stable": 100},
    ]
    assert tracks == {"stable": {"version": 2, "weight": 100, "replicas": 1}}
    values = release.values()
    assert values["podLabels"] == {"team": "qa"}
    assert values["gateway"]["enabled"] is True
    assert {pod.version for pod in HelmCluster(release).pods()} == {"2"}


@pytest.mark.parametrize("program", [helm, older_helm])
def test_back_returns_to_the_version_before(
    install: Install, api: ApiServer, program: Callable[[], Path]
) -> None:
    release = install(program=program())
    at_once = rollout(release, steps=(100,), pause_seconds=0)
    at_once.move(TO_2)

    assert at_once.back()["stable"]["version"] == 1


def test_a_split_stays_until_it_is_given_back(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    split = rollout(release, pause_seconds=0)

    tracks = split.move({1: 90.0, 2: 10.0})
    assert {name: track["weight"] for name, track in tracks.items()} == {
        "stable": 90,
        "candidate": 10,
    }

    assert split.back() == {"stable": {"version": 1, "weight": 100, "replicas": 1}}


def test_a_rollout_resumes_where_it_ended(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    rollout(release, pause_seconds=0).move({1: 50.0, 2: 50.0})
    api.weights.clear()

    rollout(release, pause_seconds=0).move(TO_2)

    assert shares(api)[0] == {"stable": 0, "candidate": 100}


def test_failing_requests_bring_the_stable_track_back(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY)
    with traffic(api, servers, broken=2), pytest.raises(RolledBackError) as caught:
        rollout(release, pause_seconds=1).move(TO_2)

    assert "Version 2 was rolled back, and stable has all traffic again" in str(caught.value)
    assert "requests failed, and 1 % are allowed" in str(caught.value)
    assert release.tracks() == {"stable": {"version": 1, "weight": 100, "replicas": 1}}


def test_a_slow_candidate_is_rolled_back(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY)
    limits = Limits(p95_factor=3, requests=2)
    message = r"95th percentile of its latency is .* ms, and 3 times the .* ms of the stable track"
    with traffic(api, servers, slow=2), pytest.raises(RolledBackError, match=message):
        rollout(release, pause_seconds=2, limits=limits).move(TO_2)
    assert release.tracks() == {"stable": {"version": 1, "weight": 100, "replicas": 1}}


def test_a_candidate_that_is_slower_within_the_limit_is_promoted(
    install: Install, api: ApiServer, servers: dict[int, int]
) -> None:
    release = install(*GATEWAY)
    limits = Limits(p95_factor=1_000_000, requests=2)
    with traffic(api, servers, slow=2):
        tracks = rollout(release, pause_seconds=1, limits=limits).move(TO_2)
    assert tracks == {"stable": {"version": 2, "weight": 100, "replicas": 1}}


def test_a_wrong_answer_is_found_before_there_is_any_traffic(
    install: Install, api: ApiServer
) -> None:
    release = install(*GATEWAY)
    smoke = type(SMOKE)("When?", "no 1932", "no 1")
    with pytest.raises(RolledBackError, match="where 'no 1' is right"):
        rollout(release, smoke=smoke).move(TO_2)
    assert all(each.get("candidate", 0) == 0 for each in shares(api))
    assert list(release.tracks()) == ["stable"]


def test_tracks_that_disagree_too_often_are_not_mixed(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    context = "The bridge over the river was designed by Anna Berg and opened in 1932."
    words = context.split()[1:9]
    questions = [
        {"id": word, "question": f"{word}?", "answers": [{"text": "1932", "answer_start": 66}]}
        for word in words
    ]
    document = {"data": [{"paragraphs": [{"context": context, "qas": questions}]}]}
    with pytest.raises(
        RolledBackError, match=r"disagree on \d+\.\d % of the questions, and 0 % are allowed"
    ):
        rollout(
            release,
            dataset=parse_squad(document, "eight questions"),
            limits=Limits(disagreement_percent=0),
        ).move(TO_2)


def test_a_version_that_never_becomes_ready_is_taken_away(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    with pytest.raises(RolledBackError, match="bert-qa-candidate did not roll out in 2 s"):
        rollout(release, patience=2).move({9: 100.0})
    assert list(release.tracks()) == ["stable"]


def test_the_same_version_is_refused(install: Install, api: ApiServer) -> None:
    release = install(*GATEWAY)
    with pytest.raises(NothingToDoError, match="Version 1 has all traffic already"):
        rollout(release).move({1: 100.0})
    with pytest.raises(NothingToDoError, match="nothing to go back to"):
        rollout(release).back()
    assert release.revisions() == [1]


def test_weights_without_a_gateway_are_refused(install: Install, api: ApiServer) -> None:
    release = install()
    with pytest.raises(ClusterError, match="Without a gateway"):
        rollout(release).move(TO_2)
    assert release.revisions() == [1]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("kserve.enabled=true",), "KServe moves the traffic of this release"),
        (
            ("tracks.stable.version=latest",),
            "The track stable follows the latest version: set its number first",
        ),
        (
            ("tracks.a.version=1,tracks.a.weight=0", "tracks.b.version=2,tracks.b.weight=0"),
            "has the tracks a, b, stable: a switch is between two",
        ),
    ],
)
def test_a_release_of_another_kind_is_refused(
    install: Install, api: ApiServer, flags: tuple[str, ...], complaint: str
) -> None:
    release = install(*(part for flag in flags for part in ("--set", flag)))
    with pytest.raises(ClusterError, match=complaint):
        rollout(release, steps=(100,)).move(TO_2)
    assert release.revisions() == [1]


def test_back_passes_over_a_time_when_the_track_followed_the_latest_version(
    install: Install, api: ApiServer
) -> None:
    release = install()
    for version in ("latest", 2):
        release.set_tracks({"stable": {**release.tracks()["stable"], "version": version}})

    back = rollout(release, steps=(100,), pause_seconds=0).back()

    assert back["stable"]["version"] == 1


def test_steps_that_do_not_ascend_are_refused(install: Install, api: ApiServer) -> None:
    release = install()
    for steps in ((), (50, 5), (0, 100), (50, 101)):
        with pytest.raises(InvalidOptionError, match="steps"):
            rollout(release, steps=steps)


def test_a_release_that_is_not_there_is_named(install: Install, api: ApiServer) -> None:
    release = install()
    lost = Helm("other", NAMESPACE, release.chart, program=release.program)
    with pytest.raises(ClusterError, match="no release other in the namespace ml"):
        HelmCluster(lost)


def test_another_chart_is_refused(install: Install, api: ApiServer, tmp_path: Path) -> None:
    release = install()
    (tmp_path / "Chart.yaml").write_text("version: 9.9.9\n", encoding="utf-8")
    other = Helm(release.release, NAMESPACE, tmp_path, program=release.program)
    with pytest.raises(ClusterError, match=r"chart version 0\.1\.0, and .* is 9\.9\.9"):
        HelmCluster(other)


@pytest.mark.parametrize(("what", "complaint"), [("secrets", "release"), ("pods", "look at pods")])
def test_without_permission_nothing_is_done(
    install: Install, api: ApiServer, what: str, complaint: str
) -> None:
    release = install()
    api.forbidden.add(what)
    with pytest.raises(ClusterError, match=f"You may not .*{complaint}"):
        HelmCluster(release).pods()


def test_a_cluster_that_is_away_is_named(
    install: Install, api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install()
    kubeconfig = tmp_path / "elsewhere"
    text = (tmp_path / "kubeconfig").read_text(encoding="utf-8")
    here = text.partition("http://127.0.0.1:")[2].partition('"')[0]
    kubeconfig.write_text(text.replace(here, str(free_port())), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with pytest.raises(ClusterError, match="cluster cannot be reached"):
        HelmCluster(release)


def ask_and_fail(url: str, connection: socket.socket) -> None:
    """Use a connection of a tunnel, leave it open, and raise ZeroDivisionError."""
    connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
    connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: pod\r\n\r\n")
    assert connection.recv(64).startswith(b"HTTP/1.1 200")
    raise ZeroDivisionError


def test_a_tunnel_has_no_threads_left_whether_its_block_ends_or_fails(
    install: Install, api: ApiServer
) -> None:
    cluster = HelmCluster(install())
    (pod,) = cluster.pods()
    before = set(threading.enumerate())

    with cluster.connect(pod) as url:
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    with socket.socket() as kept:
        with pytest.raises(ZeroDivisionError), cluster.connect(pod) as url:
            ask_and_fail(url, kept)
        left = set(threading.enumerate()) - before

    with socket.socket() as late:
        assert late.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0
    # The Kubernetes client ends its own threads once it has left the API server.
    assert all(each.name.startswith("Kubernetes port forward") for each in left)
    for thread in left:
        thread.join(30)
        assert not thread.is_alive()


def test_without_helm_it_is_said_so(install: Install, api: ApiServer) -> None:
    release = install()
    with pytest.raises(ClusterError, match="no helm-of-nowhere on PATH"):
        Helm(release.release, NAMESPACE, release.chart, program="helm-of-nowhere").values()
