"""The whole life of a release on a real cluster.

It runs where KUBECONFIG points at one. The images are parameters: BERTQA_SERVER_IMAGE,
BERTQA_PROXY_IMAGE, BERTQA_CLIENT_IMAGE, and BERTQA_MODEL_IMAGE, which holds versions 1 and 2.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.helm.chart import CHART
from tools.programs import helm, kubectl

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(
        not os.environ.get("KUBECONFIG"),
        reason="KUBECONFIG names no cluster: set it to install, test, upgrade and uninstall there",
    ),
    pytest.mark.timeout(3600),
]

KINDS = (
    "deployments,replicasets,pods,jobs,services,configmaps,secrets,serviceaccounts,"
    "persistentvolumeclaims,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)
OF_THE_NAMESPACE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}


def values() -> dict[str, Any]:
    """A release that fits a small cluster, with the images that were given."""
    given: dict[str, Any] = {
        "model": {"image": {"reference": os.environ.get("BERTQA_MODEL_IMAGE", "bert-qa-model:2")}},
        "tracks": {"stable": {"version": 1, "weight": 100, "replicas": 1}},
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
        "proxy": {"maxConnectionSeconds": 5, "resources": {"limits": {"cpu": "200m"}}},
        "server": {"requestTimeoutSeconds": 10},
        "test": {},
    }
    for section, variable in (("server", "SERVER"), ("proxy", "PROXY"), ("test", "CLIENT")):
        image = os.environ.get(f"BERTQA_{variable}_IMAGE")
        if image:
            given[section]["image"] = image
    return given


def run(*command: object, given: str | None = None) -> str:
    finished = subprocess.run(
        list(map(str, command)), input=given, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


class Release:
    """A release in a namespace of its own."""

    def __init__(self, namespace: str) -> None:
        self.name = "answers"
        self.namespace = ("--namespace", namespace)

    def helm(self, *arguments: object, given: str | None = None) -> str:
        return run(helm(), *arguments, *self.namespace, given=given)

    def kubectl(self, *arguments: object) -> str:
        return run(kubectl(), *self.namespace, *arguments)

    def upgrade(self, changes: dict[str, Any]) -> None:
        waiting = ("--install", "--wait", "--timeout", "10m", "--values", "-")
        self.helm("upgrade", self.name, CHART, *waiting, given=json.dumps(changes))

    def test(self) -> None:
        """Run `helm test`, which asks a question and checks the answer."""
        self.helm("test", self.name, "--timeout", "5m")

    def versions(self) -> dict[str, str]:
        """The version that each track's ready pods serve."""
        deployments = json.loads(self.kubectl("get", "deployments", "--output", "json"))["items"]
        for deployment in deployments:
            assert deployment["status"].get("readyReplicas") == deployment["spec"]["replicas"]
        return {
            one["metadata"]["labels"]["bert-qa/track"]: one["metadata"]["annotations"][
                "bert-qa/version"
            ]
            for one in deployments
        }

    def left(self) -> set[str]:
        """What stays in the namespace beside what every namespace has; pods take a while to go."""
        deadline = time.monotonic() + 180
        while True:
            found = self.kubectl("get", KINDS, "--output", "name").split()
            left = set(found) - OF_THE_NAMESPACE
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(1)


@pytest.fixture
def release() -> Iterator[Release]:
    namespace = f"bert-qa-test-{uuid.uuid4().hex[:8]}"
    run(kubectl(), "create", "namespace", namespace)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    run(kubectl(), "label", "namespace", namespace, restricted)
    try:
        yield Release(namespace)
    finally:
        run(kubectl(), "delete", "namespace", namespace, "--wait=false")


def test_a_release_is_installed_asked_upgraded_rolled_back_and_removed(release: Release) -> None:
    release.upgrade(values())
    assert release.versions() == {"stable": "1"}
    release.test()

    candidate = {"version": 2, "weight": 0, "replicas": 1}
    with_candidate = values()
    with_candidate["tracks"]["candidate"] = candidate
    release.upgrade(with_candidate)
    assert release.versions() == {"stable": "1", "candidate": "2"}
    release.test()

    promoted = values()
    promoted["tracks"]["stable"]["version"] = 2
    release.upgrade(promoted)
    assert release.versions() == {"stable": "2"}
    release.test()

    release.helm("rollback", release.name, "2", "--wait", "--timeout", "10m")
    assert release.versions() == {"stable": "1", "candidate": "2"}
    release.test()

    release.helm("uninstall", release.name, "--wait", "--timeout", "5m")
    assert release.left() == set()


def test_a_wrong_value_installs_nothing(release: Release) -> None:
    wrong = {**values(), "tracks": {"stable": {"weight": 60}}}
    command = [str(helm()), "install", release.name, str(CHART), "--values", "-"]
    refused = subprocess.run(
        [*command, *release.namespace],
        input=json.dumps(wrong),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "The weights of the tracks sum to 60, not to 100" in refused.stderr
    assert release.left() == set()
