"""What keeps a switch in the cluster from running, and how it is reported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.job import start_or_attach
from bertqa_deploy.errors import ClusterError
from tests.deploy.cluster.conftest import NAMESPACE
from tests.deploy.cluster.job.conftest import NAME, TO_2, Typed, refusal
from tests.deploy.cluster.jobs import JobServer, Run


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_pulled_is_named_and_the_job_removed(
    typed: Typed, server: JobServer, reason: str
) -> None:
    server.runs = [Run(waiting=(reason, "not found"))]
    said = refusal(typed)
    assert "The image bert-qa-switch:0.2.0 of the switch cannot be pulled (not found)" in said
    assert "switch.image" in said
    assert server.job() is None


def test_after_a_pod_was_killed_a_missing_image_leaves_the_job(
    typed: Typed, server: JobServer
) -> None:
    server.runs = [Run(["one"], status=137), Run(waiting=("ErrImagePull", "not found"))]
    seen = []

    def stop(step: str) -> None:
        seen.append(step)
        if "cannot be pulled" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_or_attach(typed.release, TO_2, on_line=print, on_step=stop)
    assert server.job() is not None


def test_a_container_that_cannot_start_is_reported(typed: Typed, server: JobServer) -> None:
    server.runs = [Run(waiting=("CreateContainerConfigError", "no such Secret"))]
    assert "The container of the switch cannot be started: no such Secret." in refusal(typed)
    assert server.job() is None


def test_a_pod_that_no_node_takes_is_waited_for(typed: Typed, server: JobServer) -> None:
    server.runs = [Run(no_node="0/2 nodes are available: Insufficient cpu.")]

    def stop(step: str) -> None:
        typed.steps.append(step)
        if "waits for a node" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_or_attach(typed.release, TO_2, on_line=print, on_step=stop)
    assert "waits for a node: 0/2 nodes are available: Insufficient cpu." in typed.steps[-2]
    assert server.job() is not None


@pytest.mark.parametrize(
    ("refused", "hint"),
    [
        ('pods "s" is forbidden: exceeded quota: pods, requested: pods=1', ""),
        ('pods "s" is forbidden: violates PodSecurity "restricted:latest"', ""),
        ('serviceaccount "bert-qa-switch" not found', "switch.enabled=true` makes it"),
    ],
)
def test_what_keeps_the_cluster_from_making_a_pod_is_reported(
    typed: Typed, server: JobServer, refused: str, hint: str
) -> None:
    server.refusal = refused
    said = refusal(typed)
    assert f"The cluster makes no pod for the switch: {refused}." in said
    assert hint in said
    assert server.job() is None


def test_a_release_without_the_account_says_what_makes_it(release: Callable[..., Helm]) -> None:
    said = refusal(Typed(release()))
    assert "--reset-then-reuse-values --set switch.enabled=true" in said


@pytest.mark.parametrize("kind", ["podtemplates", "jobs", "configmaps"])
def test_a_missing_right_is_named(typed: Typed, server: JobServer, kind: str) -> None:
    server.forbidden = {kind}
    said = refusal(typed)
    assert said.startswith("You may not ")
    assert "in the namespace ml" in said
    server.forbidden = set()
    job = server.job()
    assert job is None


def test_a_missing_right_to_read_the_log_is_named(typed: Typed, server: JobServer) -> None:
    server.forbidden = {"pods/log"}
    assert refusal(typed).startswith("You may not get the logs of pods")


def test_questions_that_no_config_map_holds_are_refused(
    typed: Typed, server: JobServer, tmp_path: Path
) -> None:
    questions = tmp_path / "large.json"
    questions.write_bytes(b" " * 1_100_000)
    assert "holds 1.0 MB: pass fewer questions" in refusal(typed, data=questions)
    assert server.job() is None


def test_a_directory_without_a_chart_is_refused(typed: Typed, tmp_path: Path) -> None:
    typed.release.chart = tmp_path
    assert "it has no Chart.yaml" in refusal(typed)


def test_a_job_that_is_deleted_ends_the_waiting(typed: Typed, server: JobServer) -> None:
    server.runs = [Run(["one"], until=(ended := threading.Event()))]

    def delete(line: str) -> None:
        with server._lock:
            server._objects.pop((NAMESPACE, "jobs", NAME))
        ended.set()

    with pytest.raises(ClusterError, match="was deleted before the switch ended: run the same"):
        start_or_attach(typed.release, TO_2, on_line=delete, on_step=print)


def test_the_input_of_an_earlier_job_is_replaced(typed: Typed, server: JobServer) -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": NAME, "uid": "gone"}
    old = {"name": NAME, "ownerReferences": [owner]}
    with server._lock:
        server._put((NAMESPACE, "configmaps", NAME), {"metadata": old, "binaryData": {}})
    assert typed().status == 0
    job, content = server.job(), server.config_map(NAME)
    assert job is not None
    assert content["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert "chart.tgz" in content["binaryData"]
