"""A release whose switch runs as a Job, on the small API server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertqa_deploy.cluster import job as job_module
from bertqa_deploy.cluster.access import find_access
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.job import Ended, start_or_attach
from bertqa_deploy.errors import ClusterError
from tests.deploy.cluster.api_server import running
from tests.deploy.cluster.conftest import CHART, NAMESPACE, RELEASE
from tests.deploy.cluster.jobs import JobServer
from tests.support.ports import free_port
from tools.programs import helm

TO_2 = ("--to", "2", "--release", RELEASE, "--namespace", NAMESPACE, "--in-cluster")
NAME = "bert-qa-switch"
DOCUMENT = json.dumps({"split": {"2": 100}}, indent=2)


class Typed:
    """What a user types, and sees."""

    def __init__(self, release: Helm) -> None:
        self.release = release
        self.lines: list[str] = []
        self.steps: list[str] = []

    def __call__(self, *arguments: str, data: Path | None = None) -> Ended:
        return start_or_attach(
            self.release,
            arguments or TO_2,
            data,
            on_line=self.lines.append,
            on_step=self.steps.append,
        )


@pytest.fixture
def server(
    servers: dict[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[JobServer]:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(job_module, "_LOOK_SECONDS", 0.02)
    found = JobServer(servers)
    with running(found, free_port(), tmp_path / "kubeconfig"):
        yield found


@pytest.fixture
def release(server: JobServer) -> Callable[..., Helm]:
    def install(*flags: str) -> Helm:
        command = [str(helm()), "install", RELEASE, str(CHART), "--namespace", NAMESPACE]
        values = ["--set", "model.pvc.claimName=models,tracks.stable.version=1", *flags]
        subprocess.run([*command, *values], check=True, capture_output=True)
        return Helm(RELEASE, find_access(NAMESPACE), CHART, program=str(helm()))

    return install


@pytest.fixture
def typed(release: Callable[..., Helm]) -> Typed:
    return Typed(release("--set", "switch.enabled=true"))


def refusal(typed: Typed, *arguments: str, **options: Any) -> str:
    with pytest.raises(ClusterError) as refused:
        typed(*arguments, **options)
    return str(refused.value)
