"""A switch that runs in a real cluster, while it is asked, and its watchers come and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from bertqa_deploy.cluster.access import find_access
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.job import Ended, start_or_attach
from bertqa_deploy.errors import ClusterError
from tests.support.asking import Asking, asking
from tests.support.chart import CHART
from tests.support.release import Release, release_of_its_own, values
from tools.programs import helm

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

# Long enough for everything to be killed meanwhile.
HELD = ("--pause", "40s", "--min-requests", "5", "--max-p95-factor", "100", "--json")
JOB = "answers-bert-qa-switch"
WATCHES = """
import sys
from bertqa_deploy.cluster.job import start_or_attach
from tests.deploy.cluster.test_job_on_a_cluster import helm_of
name, namespace, *arguments = sys.argv[1:]
shown = lambda line: print(line, flush=True)
start_or_attach(helm_of(name, namespace), arguments, on_line=shown, on_step=shown)
"""


def helm_of(name: str, namespace: str) -> Helm:
    return Helm(name, find_access(namespace), CHART, program=str(helm()))


class Operator:
    """Who types `bert-qa switch --in-cluster`."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.helm = helm_of(release.name, release.namespace[1])
        self.lines: list[str] = []
        self.steps: list[str] = []

    def __call__(self, *arguments: str) -> Ended:
        self.lines.clear()
        self.steps.clear()
        return start_or_attach(
            self.helm,
            [*arguments, "--in-cluster"],
            on_line=self.lines.append,
            on_step=self.steps.append,
        )

    def killed_after(self, line: str, *arguments: str) -> None:
        """Type it in a process of its own, and kill that after a line."""
        name, namespace = self.release.name, self.release.namespace[1]
        command = [sys.executable, "-c", WATCHES, name, namespace, *arguments, "--in-cluster"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as watching:
            assert watching.stdout is not None
            seen = []
            for shown in watching.stdout:
                seen.append(shown)
                if line in shown:
                    break
            else:
                raise AssertionError(f"it ended before {line!r}: {seen}")
            os.killpg(watching.pid, signal.SIGKILL)

    def pod(self) -> str:
        found = self.release.kubectl(
            "get", "pods", "--selector", f"job-name={JOB}", "--output=name"
        )
        return found.split()[-1]

    def versions(self) -> dict[str, int]:
        tracks = self.helm.tracks()
        return {name: track["version"] for name, track in tracks.items() if track["weight"]}


@pytest.fixture(scope="module")
def release() -> Iterator[Release]:
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    image = os.environ.get("BERTQA_SWITCH_IMAGE")
    if not image:
        pytest.skip("BERTQA_SWITCH_IMAGE names no image of deploy/docker/switch.Dockerfile")
    with release_of_its_own() as found:
        given = {**values(), "httpApi": {"enabled": False}}
        found.upgrade({**given, "switch": {"enabled": True, "image": image}})
        yield found


@pytest.fixture
def operator(release: Release) -> Operator:
    return Operator(release)


@pytest.fixture(scope="module")
def asked(release: Release) -> Iterator[Asking]:
    service = f"{release.name}-bert-qa"
    test = helm_of(release.name, release.namespace[1]).values()["test"]
    urls = (f"grpc://{service}:9000", f"http://{service}:8000")
    with asking(release, urls, test) as found:
        yield found


def test_it_survives_its_watcher_and_its_pod_and_no_request_fails(
    operator: Operator, asked: Asking
) -> None:
    operator.killed_after("the split is 2=100", "--to", "2", *HELD)
    first = operator.pod()
    operator.release.kubectl("delete", first, "--grace-period=1", "--wait=false")

    ended = operator("--to", "2", *HELD)
    assert ended.status == 0, operator.lines
    assert json.loads(ended.document)["split"] == {"2": 100.0}
    assert operator.pod() != first
    assert list(operator.versions().values()) == [2]
    assert {each["version"] for each in asked.answers_from_now(20)} == {2}

    assert operator("--back", "--json").status == 0
    assert list(operator.versions().values()) == [1]
    assert {each["version"] for each in asked.answers_from_now(20)} == {1}


def test_a_version_that_is_not_there_ends_it_with_its_status(operator: Operator) -> None:
    assert operator("--to", "9", "--step-timeout", "20s").status == 1
    assert any("The traffic was returned to 1=100" in line for line in operator.lines)
    assert list(operator.versions().values()) == [1]


def test_all_of_it_goes_with_its_job(operator: Operator) -> None:
    operator("--to", "1")
    release = operator.release
    assert json.loads(release.kubectl("get", "configmap", JOB, "--output=json"))["immutable"]
    release.kubectl("delete", "job", JOB, "--cascade=foreground", "--wait")
    left: Any = release.kubectl("get", "jobs,pods,configmaps", "--output=name").split()
    assert not [name for name in left if JOB in name]


def test_an_image_that_is_not_there_is_named_at_once(operator: Operator) -> None:
    path = "/template/spec/containers/0/image"
    patch = [{"op": "replace", "path": path, "value": "registry.invalid/switch:0"}]
    operator.release.kubectl(
        "patch", "podtemplate", JOB, "--type=json", "--patch", json.dumps(patch)
    )
    with pytest.raises(ClusterError, match=r"The image registry\.invalid/switch:0 of the"):
        operator("--to", "2")
    assert JOB not in operator.release.kubectl("get", "jobs", "--output=name")
