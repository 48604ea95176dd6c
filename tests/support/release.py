"""A release of the chart on the cluster to which KUBECONFIG leads, and what it is installed with.

The images are parameters: BERTQA_SERVER_IMAGE, BERTQA_PROXY_IMAGE, BERTQA_CLIENT_IMAGE, and
BERTQA_MODEL_IMAGE, which holds versions 1 and 2; without them they are the chart's own.
BERTQA_GATEWAY_REST and BERTQA_GATEWAY_GRPC are the URLs of a gateway that serves all routes of the
cluster, for pods.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.chart import CHART, is_of_http_api
from tools.programs import helm, kubectl

KINDS = (
    "deployments,replicasets,pods,jobs,services,configmaps,secrets,serviceaccounts,"
    "persistentvolumeclaims,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
)
OF_THE_NAMESPACE = {"configmap/kube-root-ca.crt", "serviceaccount/default"}


def values() -> dict[str, Any]:
    """A release that fits a small cluster, with the images that were given."""
    given: dict[str, Any] = {
        "model": {},
        "tracks": {"stable": {"version": 1, "weight": 100, "replicas": 1}},
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
        "proxy": {"maxConnectionSeconds": 5, "resources": {"limits": {"cpu": "200m"}}},
        "server": {"requestTimeoutSeconds": 10},
        "test": {},
        "httpApi": {
            "replicas": 1,
            "resources": {
                "limits": {"cpu": "500m", "memory": "512Mi"},
                "requests": {"cpu": "100m"},
            },
        },
    }
    for section in ("model", "server", "proxy", "test"):
        name = "CLIENT" if section == "test" else section.upper()
        if image := os.environ.get(f"BERTQA_{name}_IMAGE"):
            given[section]["image"] = image
    return given


def image_of(image: Any) -> str:
    """The reference of one of the project's images, by the chart's values for it."""
    if isinstance(image, str):
        return image
    return f"{image['repository']}:{image['tag'] or app_version()}"


def app_version() -> str:
    """The tag of the project's images."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"])


def run(*command: object, given: str | None = None) -> str:
    finished = subprocess.run(
        list(map(str, command)), input=given, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


@contextmanager
def release_of_its_own() -> Iterator[Release]:
    """Make a namespace for a release, and delete it in the end."""
    namespace = f"bert-qa-test-{uuid.uuid4().hex[:8]}"
    run(kubectl(), "create", "namespace", namespace)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    run(kubectl(), "label", "namespace", namespace, restricted)
    try:
        yield Release(namespace)
    finally:
        run(kubectl(), "delete", "namespace", namespace, "--wait=false")


class Release:
    """A release in a namespace of its own."""

    def __init__(self, namespace: str) -> None:
        self.name = "answers"
        self.namespace = ("--namespace", namespace)

    def helm(self, *arguments: object, given: str | None = None) -> str:
        return run(helm(), *arguments, *self.namespace, given=given)

    def kubectl(self, *arguments: object) -> str:
        return run(kubectl(), *self.namespace, *arguments)

    def upgrade(self, changes: dict[str, Any], *flags: str, chart: Path = CHART) -> None:
        waiting = ("--install", "--wait", "--timeout", "10m", "--values", "-", *flags)
        self.helm("upgrade", self.name, chart, *waiting, given=json.dumps(changes))

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
            if not is_of_http_api(one)
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
