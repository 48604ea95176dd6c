"""A Kubernetes API server as far as Helm and a rollout use one, over real HTTP.

It keeps what it is given. A Deployment's pods are there, and ready, as soon as a version is asked
for that there is a server for; what is forwarded to a pod's port goes to that server. A Service's
EndpointSlice follows its selector and the pods. Pods that are taken away drain for a while.
"""

from __future__ import annotations

import asyncio
import copy
import json
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.deploy.cluster.api_wire import (
    GROUPS,
    KINDS,
    PROTOBUF,
    SCALED,
    Object,
    discovery,
    failure,
    is_ready,
    merged,
    secret,
    selects,
)
from tests.support.web import serving_application

Key = tuple[str, str, str]

PROTOCOL = "v4.channel.k8s.io"


class ApiServer:
    """`servers` maps a version to the port of the server that its pods stand for.

    Pods that follow `latest` stand for the highest version's. `drains` is how often the pods are
    listed while one that was taken away is still there. `http_api` is the port of the HTTP API that
    a pod stands for; without it there is no such pod. `on_write` is called before each change, and
    `outages` are the Services that had ready pods once, and then none. The server of a version that
    is not in `servers` runs without it where it is `lacking`, and is what it `waits` for otherwise.
    `before` is what became of the containers that run before it.
    `failure` is why no pods are made, as Deployments say it. Deployments that were changed
    `by_hand` are applied by force alone.
    """

    def __init__(self, servers: Mapping[int, int]) -> None:
        self.servers = {str(version): port for version, port in servers.items()}
        self.servers["latest"] = servers[max(servers)]
        self.forbidden: set[str] = set()
        self.weights: list[dict[str, int]] = []
        self.on_write: Callable[[str], None] = lambda _: None
        self.drains = 0
        self.http_api: int | None = None
        self.unready: set[str] = set()
        self.lacking = False
        self.waits: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.before: list[Object] = []
        self.failure: Object = {}
        self.by_hand: set[tuple[str, str]] = set()
        self.restarts: dict[str, int] = {}
        self.outages: list[str] = []
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._revision = 0
        self._lock = threading.Lock()

    def version_of(self, deployment: str) -> int:
        """The version that a Deployment of the one namespace runs."""
        template = self._deployment(deployment)["spec"]["template"]
        return int(template["metadata"]["annotations"]["bert-qa/version"])

    def replicas_of(self, deployment: str) -> int:
        """How many pods a Deployment of the one namespace has."""
        return int(self._deployment(deployment)["spec"]["replicas"])

    def _deployment(self, name: str) -> Object:
        wanted = ("deployments", name)
        with self._lock:
            (found,) = (one for (_, *key), one in self._objects.items() if tuple(key) == wanted)
        return found

    def scale(self, deployment: str, replicas: int) -> None:
        """Be an autoscaler."""
        with self._lock:
            for (_, what, name), found in self._objects.items():
                if (what, name) == ("deployments", deployment):
                    found["spec"]["replicas"] = replicas
            self._roll_out()

    def change(self, *, unready: Iterable[str] = (), restarted: Iterable[str] = ()) -> None:
        """Have some pods not be ready, and restart the servers of some."""
        with self._lock:
            self.unready = set(unready)
            for name in restarted:
                self.restarts[name] = self.restarts.get(name, 0) + 1
            self._roll_out()

    def report(self, plural: str, generation: int) -> None:
        """Be a gateway that has seen routes of one kind at a generation."""
        conditions = [{"type": "Accepted", "status": "True", "observedGeneration": generation}]
        with self._lock:
            for (_, what, _), found in self._objects.items():
                if what == plural:
                    found["status"] = {"parents": [{"conditions": conditions}]}

    def saved(self) -> dict[tuple[str, str, str], Object]:
        """All that is stored; what was written anew without a change is as it was."""
        with self._lock:
            objects = copy.deepcopy(self._objects)
        for each in objects.values():
            each["metadata"]["resourceVersion"] = "1"
        return objects

    def restore(self, objects: Mapping[tuple[str, str, str], Object]) -> None:
        """Store what was saved, and nothing else."""
        with self._lock:
            self._objects = copy.deepcopy(dict(objects))

    def tracks_with_pods(self) -> set[str]:
        """The tracks that have pods, those included that are ending."""
        with self._lock:
            return {
                each["metadata"]["labels"]["bert-qa/track"]
                for (_, what, _), each in self._objects.items()
                if what == "pods" and "bert-qa/track" in each["metadata"]["labels"]
            }

    def leads_to(self, service: str) -> set[str]:
        """The ready pods of a Service of the one namespace."""
        with self._lock:
            return {
                endpoint["targetRef"]["name"]
                for (_, what, name), each in self._objects.items()
                if (what, name) == ("endpointslices", service)
                for endpoint in each["endpoints"]
                if endpoint["conditions"]["ready"]
            }

    def application(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return Starlette(
            routes=[
                WebSocketRoute(
                    "/api/v1/namespaces/{namespace}/pods/{name}/portforward", self.forward
                ),
                Route("/{path:path}", self.answer, methods=methods),
            ]
        )

    async def answer(self, request: Request) -> Response:
        path = request.url.path.strip("/")
        found = discovery(path)
        if found is not None:
            return JSONResponse(found)
        _, where, rest = path.partition("/namespaces/")
        namespace, _, rest = rest.partition("/")
        # What is in no namespace is a list of all of them.
        plural, *names = (rest if where else path.rpartition("/")[2]).split("/")
        if plural not in KINDS:
            return failure(404, "NotFound", path)
        if {plural, f"{request.method} {plural}"} & self.forbidden:
            return failure(403, "Forbidden", f"{plural} is forbidden: a user cannot do that")
        body = b"" if request.method == "DELETE" else await request.body()
        content = secret(body) if body.startswith(PROTOBUF) else yaml.safe_load(body or b"{}")
        if request.method != "GET":
            self.on_write(f"{request.method} {plural}/{names[0] if names else ''}")
        with self._lock:
            return self._store(request, namespace, plural, names, content)

    def _store(
        self, request: Request, namespace: str, plural: str, names: list[str], content: Object
    ) -> Response:
        name = names[0] if names else content.get("metadata", {}).get("name", "")
        key = (namespace, plural, name)
        match request.method, bool(names):
            case "GET", False:
                selector = request.query_params.get("labelSelector", "")
                if plural == "pods":
                    self._drain()
                items = [
                    found
                    for (where, what, _), found in sorted(self._objects.items())
                    if what == plural and where == (namespace or where) and selects(selector, found)
                ]
                group = next(g for g, kinds in GROUPS.items() if plural in kinds.values())
                listed = {"kind": f"{KINDS[plural]}List", "apiVersion": group, "items": items}
                return JSONResponse({**listed, "metadata": {"resourceVersion": "1"}})
            case "GET", True:
                pass
            case "POST", _:
                if key in self._objects:
                    return failure(409, "AlreadyExists", f"{plural} {name!r} already exists")
                self._put(key, content)
                return JSONResponse(self._objects[key], 201)
            case "PATCH", _ if "apply-patch" in request.headers["content-type"]:
                if (plural, name) in self.by_hand and request.query_params.get("force") != "true":
                    return failure(409, "Conflict", SCALED)
                self._put(key, content)
            case (("PUT" | "PATCH"), _):
                strategic = "strategic" in request.headers["content-type"]
                self._put(key, merged(self._objects.get(key, {}), content, strategic))
            case "DELETE", _:
                gone = self._objects.pop(key, None)
                if gone is not None:
                    self._roll_out()
                    if plural == "services":
                        self._objects.pop((namespace, "endpointslices", name), None)
                    return JSONResponse(gone)
        if key not in self._objects:
            return failure(404, "NotFound", f'{plural} "{name}" not found')
        return JSONResponse(self._objects[key])

    def _put(self, key: tuple[str, str, str], content: Object) -> None:
        namespace, plural, _ = key
        before = self._objects.get(key, {})
        self._revision += 1
        metadata = content.setdefault("metadata", {})
        generation = before.get("metadata", {}).get("generation", 0)
        metadata |= {
            "namespace": namespace,
            "uid": "-".join(key),
            "resourceVersion": str(self._revision),
            "generation": generation + (before.get("spec") != content.get("spec")),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        group = next(g for g, kinds in GROUPS.items() if plural in kinds.values())
        self._objects[key] = {"apiVersion": group, "kind": KINDS[plural], **content}
        if plural in ("deployments", "services"):
            self._roll_out()
        if plural == "grpcroutes":
            refs = content["spec"]["rules"][-1]["backendRefs"]
            self.weights.append({ref["name"]: ref["weight"] for ref in refs})

    def _roll_out(self) -> None:
        """Be the Deployment controller and the kubelet: at once, where there is a server."""
        pods = {key for key in self._objects if key[1] == "pods"}
        for (namespace, plural, name), deployment in list(self._objects.items()):
            if plural != "deployments":
                continue
            template = deployment["spec"]["template"]
            if "bert-qa/track" not in template["metadata"]["labels"]:
                pods -= self._roll_out_http_api(namespace, name, template)
                continue
            runs = template["metadata"]["annotations"]["bert-qa/version"] in self.servers
            count = deployment["spec"].get("replicas", 1)
            names = [f"{name}-{number}" for number in range(count)]
            available = sum(runs and each not in self.unready for each in names)
            deployment["status"] = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": count,
                "updatedReplicas": count,
                "availableReplicas": available,
                "readyReplicas": available,
                "conditions": [
                    {"type": "ReplicaFailure", "status": str(bool(self.failure)), **self.failure}
                ],
            }
            for each in names:
                pod = (namespace, "pods", each)
                pods.discard(pod)
                self._objects[pod] = self._pod(pod, template, runs=runs)
        for pod in pods:
            left = self._objects[pod]["metadata"].setdefault("drains", self.drains)
            if left:
                self._objects[pod]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            else:
                del self._objects[pod]
        self._lead()

    def _roll_out_http_api(self, namespace: str, name: str, template: Object) -> set[Key]:
        """Have a pod of the HTTP API, where a test serves one, and return its key."""
        if self.http_api is None:
            return set()
        key = (namespace, "pods", f"{name}-0")
        self._objects[key] = self._pod(key, template, runs=True)
        return {key}

    def _pod(self, key: tuple[str, str, str], template: Object, *, runs: bool) -> Object:
        namespace, _, name = key
        ready = runs and name not in self.unready
        server = {
            "name": "ovms",
            "image": "ovms",
            "imageID": "ovms",
            "ready": ready,
            "started": runs,
            "state": {"running": {}} if runs or self.lacking else self.waits,
            "restartCount": self.restarts.get(name, 0),
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": name, "namespace": namespace},
            "spec": {"containers": [{"name": "ovms", "image": "ovms"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "initContainerStatuses": [] if runs else self.before,
                "containerStatuses": [server],
            },
        }

    def _drain(self) -> None:
        """Let pods that were taken away come nearer to their end."""
        for key in [key for key in self._objects if key[1] == "pods"]:
            metadata = self._objects[key]["metadata"]
            if "deletionTimestamp" in metadata:
                metadata["drains"] -= 1
                if metadata["drains"] < 0:
                    del self._objects[key]

    def _lead(self) -> None:
        """Be the controller of EndpointSlices."""
        for (namespace, plural, name), service in list(self._objects.items()):
            if plural != "services" or "selector" not in service["spec"]:
                continue
            wanted = ",".join(f"{k}={v}" for k, v in service["spec"]["selector"].items())
            endpoints = [
                {
                    "addresses": ["10.0.0.1"],
                    "conditions": {"ready": each["status"]["conditions"][0]["status"] == "True"},
                    "targetRef": {"kind": "Pod", "name": pod},
                }
                for (where, what, pod), each in self._objects.items()
                if (where, what) == (namespace, "pods")
                and "deletionTimestamp" not in each["metadata"]
                and selects(wanted, each)
            ]
            key = (namespace, "endpointslices", name)
            before: list[Object] = self._objects.get(key, {}).get("endpoints", [])
            if is_ready(before) and not is_ready(endpoints):
                self.outages.append(name)
            labels = {"kubernetes.io/service-name": name}
            self._objects[key] = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "addressType": "IPv4",
                "endpoints": endpoints,
            }

    async def forward(self, websocket: WebSocket) -> None:
        """Carry a connection to a pod: channel 0 is data, 1 errors; each opens with the port."""
        namespace, name = websocket.path_params["namespace"], websocket.path_params["name"]
        pod = self._objects[namespace, "pods", name]
        port = int(websocket.query_params["ports"])
        await websocket.accept(PROTOCOL)
        for channel in (0, 1):
            await websocket.send_bytes(bytes([channel]) + struct.pack("<H", port))
        to = self.http_api
        if "bert-qa/track" in pod["metadata"]["labels"]:
            version = pod["metadata"]["annotations"]["bert-qa/version"]
            to = self.servers.get(version, self.servers["1"])
        reader, writer = await asyncio.open_connection("127.0.0.1", to)

        async def back() -> None:
            while chunk := await reader.read(65_536):
                await websocket.send_bytes(b"\0" + chunk)
            await websocket.close()

        task = asyncio.create_task(back())
        try:
            while True:
                frame = await websocket.receive_bytes()
                writer.write(frame[1:])
                await writer.drain()
        except (WebSocketDisconnect, RuntimeError, OSError):
            writer.close()
        finally:
            task.cancel()


@contextmanager
def running(api: ApiServer, port: int, kubeconfig: Path) -> Iterator[None]:
    """Serve the API, and write the file by which clients find it."""
    context = {"cluster": "test", "user": "test"}
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "test", "user": {}}],
                "contexts": [{"name": "test", "context": context}],
                "current-context": "test",
            }
        ),
        encoding="utf-8",
    )
    with serving_application(api.application(), port, ws="websockets-sansio"):
        yield
