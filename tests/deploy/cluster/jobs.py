"""The API server with the Job controller and a kubelet whose pods print what a test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.api_wire import Object, failure

OWNER = "batch.kubernetes.io/controller-uid"


@dataclass
class Run:
    """What one pod of a Job does.

    Attributes:
        lines: What it prints.
        status: The status with which it ends.
        until: It runs until this is set.
        waiting: Why its container does not start, as a reason and a message.
        no_node: Why no node takes it.
        breaks: How many connections break after each has got one line more than the last.
    """

    lines: list[str] = field(default_factory=list)
    status: int = 0
    until: threading.Event | None = None
    waiting: tuple[str, str] | None = None
    no_node: str = ""
    breaks: int = 0
    broken: int = 0


class JobServer(ApiServer):
    """`runs` are the pods that Jobs make, one after the other.

    `refusal` is why no pod can be made, and `away` how often requests are answered by 503.
    """

    def __init__(self, servers: Mapping[int, int]) -> None:
        super().__init__(servers)
        self.runs: list[Run] = []
        self.refusal = ""
        self.away = 0
        self._by_pod: dict[str, Run] = {}
        self._made = 0

    def application(self) -> Starlette:
        application = super().application()
        path = "/api/v1/namespaces/{namespace}/pods/{name}/log"
        application.router.routes.insert(0, Route(path, self.log))
        return application

    def job(self) -> Object | None:
        """The Job, or None."""
        with self._lock:
            return next((o for (_, what, _), o in self._objects.items() if what == "jobs"), None)

    def pods_of_jobs(self) -> list[Object]:
        with self._lock:
            return self._pods()

    def config_map(self, name: str) -> Object:
        with self._lock:
            return next(
                o for (_, what, n), o in self._objects.items() if (what, n) == ("configmaps", name)
            )

    async def answer(self, request: Request) -> Response:
        if self.away and "/jobs" in request.url.path:
            self.away -= 1
            return failure(503, "ServiceUnavailable", "the API server restarts")
        with self._lock:
            self._control()
        return await super().answer(request)

    async def log(self, request: Request) -> Response:
        if "pods/log" in self.forbidden:
            return failure(403, "Forbidden", 'User "x" cannot get resource "pods/log"')
        run = self._by_pod.get(request.path_params["name"])
        if run is None:
            return failure(404, "NotFound", "there is no such pod")

        async def lines() -> AsyncIterator[bytes]:
            breaks = run.broken < run.breaks
            run.broken += breaks
            for line in run.lines[: run.broken] if breaks else run.lines:
                yield f"{line}\n".encode()
            if breaks:
                yield b"half a li"
                raise ConnectionError("the connection broke")
            if run.until is not None:
                await asyncio.to_thread(run.until.wait)

        return StreamingResponse(lines())

    def _put(self, key: tuple[str, str, str], content: Object) -> None:
        is_new = key not in self._objects
        uid = self._objects.get(key, {}).get("metadata", {}).get("uid")
        super()._put(key, content)
        if key[1] == "jobs":
            # Another Job of the same name is another one.
            metadata = self._objects[key]["metadata"]
            metadata["uid"] = f"job-{self._revision}" if is_new else uid
            self._objects[key].setdefault("status", {})

    def _pods(self) -> list[Object]:
        return [
            found
            for (_, what, _), found in self._objects.items()
            if what == "pods" and OWNER in found["metadata"]["labels"]
        ]

    def _control(self) -> None:
        """Bring Jobs forward by what their pods do."""
        jobs = {
            o["metadata"]["uid"]: o for (_, what, _), o in self._objects.items() if what == "jobs"
        }
        for pod in self._pods():
            if pod["metadata"]["labels"][OWNER] not in jobs:
                metadata = pod["metadata"]
                del self._objects[metadata["namespace"], "pods", metadata["name"]]
        for uid, job in jobs.items():
            status, spec = job["status"], job["spec"]
            if spec.get("suspend") or status.get("conditions"):
                continue
            mine = [p for p in self._pods() if p["metadata"]["labels"][OWNER] == uid]
            last = max(mine, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)
            ended = None if last is None else self._end(last)
            if ended == 0:
                self._finish(job, "Complete", "")
            elif ended is not None and ended in final(spec):
                self._finish(job, "Failed", f"Container switch failed with exit code {ended}")
            elif ended is not None and status.get("failed", 0) >= spec["backoffLimit"]:
                self._finish(job, "Failed", "Job has reached the specified backoff limit")
            elif ended is not None or last is None:
                if last is not None:
                    status["failed"] = status.get("failed", 0) + 1
                self._make(job)

    def _make(self, job: Object) -> None:
        metadata = job["metadata"]
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        if self.refusal:
            self._objects[namespace, "events", "refused"] = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": "refused", "namespace": namespace},
                "involvedObject": {"uid": uid},
                "reason": "FailedCreate",
                "message": self.refusal,
            }
            return
        self._made += 1
        run = self.runs.pop(0) if self.runs else Run()
        pod = f"{name}-{self._made}"
        self._by_pod[pod] = run
        template = job["spec"]["template"]
        conditions = [{"type": "PodScheduled", "status": str(not run.no_node)}]
        state: dict[str, Any] = {"running": {}}
        if run.waiting:
            state = {"waiting": dict(zip(("reason", "message"), run.waiting, strict=True))}
        container = {"name": "switch", "image": "i", "imageID": "", "ready": False}
        self._objects[namespace, "pods", pod] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod,
                "namespace": namespace,
                "labels": {
                    **template["metadata"]["labels"],
                    OWNER: uid,
                },
                "creationTimestamp": f"2026-01-01T00:00:{self._made:02}Z",
            },
            "spec": template["spec"],
            "status": {
                "phase": "Pending" if run.no_node or run.waiting else "Running",
                "conditions": [
                    {**conditions[0], "message": run.no_node} if run.no_node else conditions[0]
                ],
                "containerStatuses": []
                if run.no_node
                else [{**container, "restartCount": 0, "state": state}],
            },
        }

    def _end(self, pod: Object) -> int | None:
        """End a pod that is done, and return its status; None while it runs or waits."""
        run = self._by_pod[pod["metadata"]["name"]]
        if run.no_node or run.waiting or (run.until is not None and not run.until.is_set()):
            return None
        reason = "Error" if run.status else "Completed"
        state = {"terminated": {"exitCode": run.status, "reason": reason}}
        pod["status"]["containerStatuses"][0]["state"] = state
        return run.status

    def _finish(self, job: Object, condition: str, message: str) -> None:
        found = {"type": condition, "status": "True", "message": message}
        job["status"]["conditions"] = [found]


def final(specification: Object) -> list[int]:
    """The statuses with which a Job fails at once."""
    rules = specification["podFailurePolicy"]["rules"]
    (values,) = (rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob")
    return list(values)
