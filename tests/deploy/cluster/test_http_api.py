"""A release whose HTTP API splits what it is asked: a switch waits until its pods follow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client
from urllib3.exceptions import HTTPError

from bertqa_cli import main
from bertqa_deploy.cluster.pods import Pods
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.target import ReleaseTarget
from bertqa_deploy.cluster.waiting import Waiting
from bertqa_deploy.errors import ClusterError
from bertqa_deploy.rollout import Plan, Rollout
from bertqa_serve.http_api import HttpApiOptions
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import NAMESPACE, RELEASE, Install
from tests.deploy.conftest import SMOKE
from tests.support.http_api import serving

MAP = ("ml", "configmaps", "bert-qa-http-api")


class Kubelet:
    """Brings the ConfigMap to the pod of the HTTP API, later than the API server has it."""

    def __init__(self, api: ApiServer, file: Path) -> None:
        self._api = api
        self._file = file
        self._ended = threading.Event()

    def bring(self) -> None:
        self._file.write_text(self._api.saved()[MAP]["data"]["tracks.json"], encoding="utf-8")

    @contextmanager
    def running(self) -> Iterator[None]:
        def run() -> None:
            while not self._ended.wait(0.5):
                self.bring()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()


@contextmanager
def http_api(api: ApiServer, kubelet: Kubelet, file: Path) -> Iterator[str]:
    kubelet.bring()
    with serving(HttpApiOptions(client={}, tracks=file)) as url:
        api.http_api = int(url.rpartition(":")[2])
        api.change()
        yield url


def split(url: str) -> dict[str, float]:
    shown = httpx.get(f"{url}/metrics").text.splitlines()
    name = "bertqa_http_split_percent"
    lines = [line.split() for line in shown if line.startswith(name)]
    shares = {line[0].split('"')[1]: float(line[1]) for line in lines}
    return {version: share for version, share in shares.items() if share}


def test_pods_that_follow_another_split_are_waited_for(
    install: Install, api: ApiServer, tmp_path: Path
) -> None:
    release = install()
    pods = Pods(release.release, release.access)
    pods.wait_until_followed({1: 100.0}, Waiting(0))  # There is no pod.

    file = tmp_path / "tracks.json"
    with http_api(api, Kubelet(api, file), file):
        pods.wait_until_followed({1: 100.0, 2: 0.0}, Waiting(20))
        with pytest.raises(
            ClusterError, match=r"in vain for .* to follow the split: bert-qa-http-api-0"
        ):
            pods.wait_until_followed({1: 50.0, 2: 50.0}, Waiting(0))
        tracks = [{"url": "a:9000", "version": each, "weight": 50} for each in (1, 2)]
        file.write_text(json.dumps({"tracks": tracks}), encoding="utf-8")
        pods.wait_until_followed({1: 50.0, 2: 50.0}, Waiting(20))


@pytest.mark.parametrize("forbidden", [set(), {"PATCH pods"}], ids=["allowed", "forbidden"])
def test_the_kubelet_is_asked_to_bring_the_split_at_once_where_that_is_allowed(
    install: Install, api: ApiServer, tmp_path: Path, forbidden: set[str]
) -> None:
    release = install()
    file = tmp_path / "tracks.json"
    kubelet = Kubelet(api, file)
    with http_api(api, kubelet, file):
        tracks = json.dumps({"tracks": [{"url": "a:9000", "version": 2, "weight": 100}]})
        asked: list[str] = []

        def bring(change: str) -> None:
            asked.append(change)
            file.write_text(tracks, encoding="utf-8")

        api.on_write = bring
        api.forbidden |= forbidden
        if forbidden:
            file.write_text(tracks, encoding="utf-8")
        Pods(release.release, release.access).wait_until_followed({2: 100.0}, Waiting(60))
    assert asked == ([] if forbidden else ["PATCH pods/bert-qa-http-api-0"])


def test_the_kubelet_is_asked_anew_each_time_and_until_it_brings_the_split(
    install: Install, api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change to what is there already would be none, and the first may come too early."""
    release = install()
    file = tmp_path / "tracks.json"
    noted: list[str] = []

    def bring(_: client.CoreV1Api, pod: str, namespace: str, change: Any) -> None:
        assert (pod, namespace) == ("bert-qa-http-api-0", "ml")
        noted.append(change["metadata"]["annotations"]["bert-qa/split"])
        if len(noted) == 2:
            tracks = {"tracks": [{"url": "a:9000", "version": 2, "weight": 100}]}
            file.write_text(json.dumps(tracks), encoding="utf-8")

    monkeypatch.setattr(client.CoreV1Api, "patch_namespaced_pod", bring)
    with http_api(api, Kubelet(api, file), file):
        Pods(release.release, release.access).wait_until_followed({2: 100.0}, Waiting(60))
    assert len(set(noted)) == len(noted) >= 2


def test_a_cluster_that_goes_away_meanwhile_is_said(
    install: Install, api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install()
    file = tmp_path / "tracks.json"

    def gone(*_: object) -> None:
        raise HTTPError("no route to host")

    monkeypatch.setattr(client.CoreV1Api, "patch_namespaced_pod", gone)
    with (
        http_api(api, Kubelet(api, file), file),
        pytest.raises(ClusterError, match="The cluster cannot be reached"),
    ):
        Pods(release.release, release.access).wait_until_followed({2: 100.0}, Waiting(60))


def test_without_a_gateway_steps_are_those_of_the_http_api_which_is_waited_for(
    install: Install, api: ApiServer, tmp_path: Path
) -> None:
    release = install()
    file = tmp_path / "tracks.json"
    kubelet = Kubelet(api, file)
    followed: list[dict[str, float]] = []

    with http_api(api, kubelet, file) as url, kubelet.running():

        def note(change: str) -> None:
            if change == "DELETE deployments/bert-qa-stable":
                followed.append(split(url))

        api.on_write = note
        target = ReleaseTarget(HelmCluster(release, patience=60), SMOKE)
        plan = Plan(steps=(50, 100))
        moved = Rollout(target, plan).move({2: 100.0})
        assert moved.split == {2: 100.0}
    assert followed == [{"2": 100.0}]


def test_who_is_split_without_a_gateway_is_said(
    install: Install,
    api: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release = install()
    monkeypatch.setenv("HELM", release.program)
    switch = ("switch", "--release", RELEASE, "--namespace", NAMESPACE, "--to", "1")
    monkeypatch.setattr("sys.argv", ["bert-qa", *switch])
    with pytest.raises(SystemExit):
        main.run()
    said = "".join(capsys.readouterr())
    assert "the HTTP API alone splits by the weights" in said
    assert "--steps 100 leads all at once" in said
