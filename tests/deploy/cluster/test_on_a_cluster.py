"""The switch on a real cluster, under the conditions of the chart's own test."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bertqa import Answer, QAClient
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.cluster.rollout import Rollout
from bertqa_deploy.cluster.status import track_statuses
from tests.support import clients
from tests.support.chart import CHART
from tests.support.release import Release, run, values
from tools.programs import helm, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

PATIENCE = 180


def installed(release: Release) -> Helm:
    release.upgrade(values())
    return Helm(release.name, release.namespace[1], CHART, program=str(helm()))


def at_once(release: Helm) -> Rollout:
    return Rollout(HelmCluster(release), steps=(100,), pause_seconds=10)


class Asking:
    """A pod in which eight clients ask the release's Service without pause.

    They are inside, for a port-forward would lead them to one pod only, and end with it.
    """

    def __init__(self, release: Release, test: dict[str, Any]) -> None:
        self._release = release
        service = f"{release.name}-bert-qa"
        program = Path(clients.__file__).read_text(encoding="utf-8")
        urls = (f"grpc://{service}:9000", f"http://{service}:8000")
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "asking"},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": {
                    "runAsNonRoot": True,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "ask",
                        "image": test["image"],
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python", "-c", program, *urls],
                        "args": [test["question"], test["context"]],
                        "env": [{"name": "HOME", "value": "/tmp"}],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        }
        run(kubectl(), *release.namespace, "create", "--filename", "-", given=json.dumps(pod))
        release.kubectl("wait", "--for=condition=Ready", "pod/asking", "--timeout=5m")

    def answers(self, newest: int = -1) -> list[dict[str, Any]]:
        """Return so many of the newest answers, or all of them. None of them may be a failure."""
        log = self._release.kubectl("logs", "asking", f"--tail={newest}")
        answers = [json.loads(line) for line in log.splitlines()]
        errors = [each["error"] for each in answers if "error" in each]
        assert not errors, errors[:3]
        return answers

    def wait_until_only(self, version: int, count: int = 80) -> None:
        """Wait until so many answers in a row came from one version."""
        give_up = time.monotonic() + PATIENCE
        while [each["version"] for each in self.answers(count)] != [version] * count:
            assert time.monotonic() < give_up, f"others than version {version} answer as well"
            time.sleep(1)


def said_by_the_pod(cluster: HelmCluster, test: dict[str, Any]) -> Answer:
    """What the stable track's pod says when it alone is asked."""
    (pod,) = (each for each in cluster.pods() if each.track == "stable")
    with cluster.connect(pod) as url, QAClient(url) as client:
        return client.answer(test["question"], test["context"])


def test_a_release_switches_and_returns(release: Release) -> None:
    chart = installed(release)
    rollout = at_once(chart)

    assert rollout.move({2: 100.0})["stable"]["version"] == 2
    assert release.versions() == {"stable": "2"}
    release.test()

    assert rollout.back()["stable"]["version"] == 1
    (status,) = track_statuses(chart)
    assert (status.version, status.weight, status.ready) == ("1", 100, 1)
    release.test()


def test_no_request_fails_meanwhile_and_each_answer_names_the_version_that_gave_it(
    release: Release,
) -> None:
    chart = installed(release)
    release.test()
    rollout = at_once(chart)
    cluster, test = HelmCluster(chart), chart.values()["test"]

    asking = Asking(release, test)
    asking.wait_until_only(1)
    right = {1: said_by_the_pod(cluster, test)}

    rollout.move({2: 100.0})
    asking.wait_until_only(2)
    right[2] = said_by_the_pod(cluster, test)
    assert right[1].score != right[2].score

    rollout.back()
    asking.wait_until_only(1)

    # Nodes with other CPUs compute slightly different scores.
    for answer in asking.answers():
        nearest = min(right, key=lambda version: abs(right[version].score - answer["score"]))
        assert (answer["version"], answer["text"]) == (nearest, right[nearest].text)
