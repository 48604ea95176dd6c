"""A pod in which eight clients ask a release without pause, and a watch on who could answer."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kubernetes import client, watch
from urllib3.exceptions import HTTPError

from bertqa_deploy.cluster.access import Access
from tests.support import clients
from tests.support.release import Release, image_of, run
from tools.programs import kubectl

PATIENCE = 300


class Asking:
    """The pod `asking`, and all that it has recorded, in a file.

    The clients are inside, for a port-forward would lead them to one pod only, and end with it.
    """

    def __init__(self, release: Release, log: Path) -> None:
        self._release = release
        self._log = log

    def answers(self) -> list[dict[str, Any]]:
        """Return all answers so far. None of them may be a failure."""
        found = clients.records(self._log.read_text(encoding="utf-8"))
        errors = [each["error"] for each in found if "error" in each]
        assert not errors, (len(errors), len(found), errors[:3])
        return found

    def answers_from_now(self, count: int = 200) -> list[dict[str, Any]]:
        """Wait for so many answers to questions that are asked from now on, by the pod's clock."""
        program = "import time; print(time.time())"
        now = float(self._release.kubectl("exec", "asking", "--", "python", "-c", program))
        give_up = time.monotonic() + PATIENCE
        while True:
            found = [each for each in self.answers() if each["asked"] > now]
            if len(found) >= count:
                return found
            assert time.monotonic() < give_up, f"{len(found)} answers since {now}"
            time.sleep(1)


@contextmanager
def asking(release: Release, urls: tuple[str, str], test: dict[str, Any]) -> Iterator[Asking]:
    """Ask the gRPC and the REST URL, what the chart's own test asks."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asking"},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "ask",
                    "image": image_of(test["image"]),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", Path(clients.__file__).read_text("utf-8")],
                    "args": [*urls, test["question"], test["context"]],
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
    follow = [str(kubectl()), *release.namespace, "logs", "--follow", "asking"]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        # A log that is read at the end lacks what was rotated away.
        following = subprocess.Popen(follow, stdout=log)
        try:
            yield Asking(release, Path(log.name))
            assert following.poll() is None, "the log ended"
        finally:
            following.terminate()
            following.wait()


class ReadyPods:
    """How many ready pods a Service has led to, at least, as the cluster reported each change."""

    def __init__(self, access: Access, service: str) -> None:
        self.fewest: int | None = None
        self._ended = False
        make: Any = watch.Watch
        self._watch = make()
        self._arguments = (access, service)
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> ReadyPods:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._ended = True
        self._watch.stop()

    def _follow(self) -> None:
        access, service = self._arguments
        api = client.DiscoveryV1Api(access.open_client())
        slices: dict[str, int] = {}
        # A watch ends now and then; the next one begins with what is there.
        while not self._ended:
            with suppress(HTTPError):
                for event in self._watch.stream(
                    api.list_namespaced_endpoint_slice,
                    access.namespace,
                    label_selector=f"kubernetes.io/service-name={service}",
                ):
                    found = event["object"]
                    slices[found.metadata.name] = (
                        0
                        if event["type"] == "DELETED"
                        else sum(bool(each.conditions.ready) for each in found.endpoints or ())
                    )
                    ready = sum(slices.values())
                    self.fewest = ready if self.fewest is None else min(self.fewest, ready)
