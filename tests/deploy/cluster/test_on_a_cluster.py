"""Rollouts on a real cluster, while eight clients ask without pause over gRPC and REST.

No request may fail, no answer come from outside the split once a rollout has returned, and the
Service never be without a ready pod.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client

from bertqa_deploy.cluster.access import Access, find_access
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.status import track_statuses
from bertqa_deploy.cluster.target import ReleaseTarget
from bertqa_deploy.errors import NothingToDoError, RolledBackError
from bertqa_deploy.rollout import Limits, Plan, Rollout
from tests.support.asking import Asking, ReadyPods, asking
from tests.support.chart import CHART
from tests.support.release import Release, release_of_its_own, values
from tools.programs import helm

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

TO_1, TO_2 = {1: 100.0}, {2: 100.0}
AT_ONCE = Plan()
# The machine that a test's cluster is on may be busy with other things.
IN_STEPS = Plan((10, 50, 100), pause_seconds=20, limits=Limits(requests=5, p95_factor=100))
MOVES = """
import sys
from tests.deploy.cluster.test_on_a_cluster import plan_of, target_of
name, namespace, steps = sys.argv[1:]
target = target_of(name, namespace, on_step=lambda step: print(step, flush=True))
from bertqa_deploy.rollout import Rollout
Rollout(target, plan_of(steps), on_step=print).move({2: 100.0})
"""


def helm_of(name: str, namespace: str) -> Helm:
    return Helm(name, find_access(namespace), CHART, program=str(helm()))


def target_of(name: str, namespace: str, patience: float = 600, **options: Any) -> ReleaseTarget:
    return ReleaseTarget(HelmCluster(helm_of(name, namespace), patience=patience), **options)


def plan_of(steps: str) -> Plan:
    return Plan(tuple(map(int, steps.split(","))))


@dataclass
class Operated:
    """A release that is asked, and what operates it."""

    release: Release
    access: Access
    asking: Asking
    steps: str

    @property
    def helm(self) -> Helm:
        return helm_of(self.release.name, self.access.namespace)

    def target(self, patience: float = 600) -> ReleaseTarget:
        return target_of(self.release.name, self.access.namespace, patience)

    def rollout(self, plan: Plan = AT_ONCE, patience: float = 600) -> Rollout:
        return Rollout(self.target(patience), plan)

    def check(self, version: int) -> None:
        """Check that a version alone answers and is served, and that no request has failed."""
        found = self.asking.answers_from_now()
        assert {each["version"] for each in found} == {version}
        (status,) = track_statuses(self.helm)
        assert (status.version, status.weight, status.ready) == (str(version), 100, 1)

    def killed(self, after: str | None) -> None:
        """Begin a move in a process of its own, and kill it and its helm: after a step, or, where
        none is named, while Helm changes the weights."""
        command = [sys.executable, "-c", MOVES, self.release.name, self.access.namespace]
        with subprocess.Popen(
            [*command, self.steps], stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as moving:
            assert moving.stdout is not None
            for line in moving.stdout:
                if line.startswith(after or "version 2 answers"):
                    break
            else:
                raise AssertionError(f"it ended before {after}")
            if after is None:
                self._wait_until_pending()
            os.killpg(moving.pid, signal.SIGKILL)

    def _wait_until_pending(self) -> None:
        api: Any = client.CoreV1Api(self.access.open_client())
        labels = f"owner=helm,name={self.release.name},status=pending-upgrade"
        while not api.list_namespaced_secret(self.access.namespace, label_selector=labels).items:
            pass


@pytest.fixture(scope="module", params=["service", "gateway"])
def operated(request: pytest.FixtureRequest) -> Iterator[Operated]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    # Kubernetes takes a minute to bring a split to the HTTP API: another test waits for that.
    given = {**values(), "httpApi": {"enabled": False}}
    with release_of_its_own() as release:
        service = f"{release.name}-bert-qa"
        urls = (f"grpc://{service}:9000", f"http://{service}:8000")
        if request.param == "gateway":
            gateway = [os.environ.get(f"BERTQA_GATEWAY_{name}") for name in ("GRPC", "REST")]
            if not all(gateway):
                pytest.skip("BERTQA_GATEWAY_REST and BERTQA_GATEWAY_GRPC name no gateway")
            urls = (str(gateway[0]), str(gateway[1]))
            rest, grpc = ({"parentRefs": [{"name": name}]} for name in ("rest", "grpc"))
            given["gateway"] = {"enabled": True, "http": rest, "grpc": grpc}
            everybody = [{"podSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0"}}]
            given["networkPolicy"] = {"clients": everybody}
        release.upgrade(given)
        access = find_access(release.namespace[1])
        test = helm_of(release.name, access.namespace).values()["test"]
        steps = "10,50,100" if request.param == "gateway" else "100"
        with ReadyPods(access, service) as ready, asking(release, urls, test) as asked:
            asked.answers_from_now(20)
            yield Operated(release, access, asked, steps)
            asked.answers()
            assert ready.fewest


@pytest.fixture
def at_version_1(operated: Operated) -> Operated:
    with suppress(NothingToDoError):
        operated.rollout().move(TO_1)
    operated.check(1)
    return operated


def test_a_switch_at_once_and_back(at_version_1: Operated) -> None:
    operated = at_version_1

    assert operated.rollout().move(TO_2).split == TO_2
    operated.check(2)
    operated.release.test()

    assert operated.rollout().back().split == TO_1
    operated.check(1)
    operated.release.test()


def test_a_switch_in_steps_that_is_judged_and_a_split(at_version_1: Operated) -> None:
    operated = at_version_1
    if operated.steps == "100":
        pytest.skip("without a gateway the traffic cannot be split")

    moved = operated.rollout(IN_STEPS).move(TO_2)
    assert [each.split for each in moved.held] == [
        {1: 90.0, 2: 10.0},
        {1: 50.0, 2: 50.0},
        TO_2,
    ]
    operated.check(2)

    operated.rollout().move({1: 50.0, 2: 50.0})
    assert {each["version"] for each in operated.asking.answers_from_now()} == {1, 2}
    assert operated.rollout().back().split == TO_2
    operated.check(2)


def test_a_candidate_that_is_never_ready_takes_nothing_from_the_others(
    at_version_1: Operated,
) -> None:
    with pytest.raises(RolledBackError, match=r"in vain for .* to roll out|There is no version"):
        at_version_1.rollout(patience=60).move({9: 100.0})
    at_version_1.check(1)


@pytest.mark.parametrize("way_on", ["the same command", "back"])
@pytest.mark.parametrize("after", ["version 2 is the track", "the split is", None])
def test_a_killed_switch(at_version_1: Operated, after: str | None, way_on: str) -> None:
    operated = at_version_1
    operated.killed(after)

    if way_on == "back":
        assert operated.rollout().back().split == TO_1
        operated.check(1)
    else:
        assert operated.rollout(plan_of(operated.steps)).move(TO_2).split == TO_2
        operated.check(2)


def test_each_answer_names_the_version_that_gave_it(at_version_1: Operated) -> None:
    operated = at_version_1
    test = operated.helm.values()["test"]
    right = {}
    for version, other in ((1, TO_2), (2, TO_1)):
        with operated.target().client(version) as asked:
            right[version] = asked.answer(test["question"], test["context"])
        operated.rollout().move(other)
    assert right[1].score != right[2].score

    # Nodes with other CPUs compute slightly different scores.
    for answer in operated.asking.answers():
        nearest = min(right, key=lambda version: abs(right[version].score - answer["score"]))
        assert (answer["version"], answer["text"]) == (nearest, right[nearest].text)
