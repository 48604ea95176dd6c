"""A Kubernetes API server as far as Helm and a rollout use one, over real HTTP.

It keeps what it is given. A Deployment's pods are there, and ready, as soon as a version is asked
for that there is a server for; what is forwarded to a pod's port goes to that server.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.web import serving_application

GROUPS = {
    "v1": {
        "Secret": "secrets",
        "ConfigMap": "configmaps",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
        "Pod": "pods",
    },
    "apps/v1": {"Deployment": "deployments"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "keda.sh/v1alpha1": {"ScaledObject": "scaledobjects"},
    "gateway.networking.k8s.io/v1": {"HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes"},
    "serving.kserve.io/v1beta1": {"InferenceService": "inferenceservices"},
}
KINDS = {plural: kind for kinds in GROUPS.values() for kind, plural in kinds.items()}
MERGE_KEYS = ("name", "mountPath", "containerPort", "port")
PROTOBUF = b"k8s\0"
PROTOCOL = "v4.channel.k8s.io"

Object = dict[str, Any]


class ApiServer:
    """`servers` maps a version to the port of the server that its pods stand for.

    Pods that follow `latest` stand for the highest version's.
    """

    def __init__(self, servers: Mapping[int, int]) -> None:
        self.servers = {str(version): port for version, port in servers.items()}
        self.servers["latest"] = servers[max(servers)]
        self.forbidden: set[str] = set()
        self.weights: list[dict[str, int]] = []
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._revision = 0
        self._lock = threading.Lock()

    def version_of(self, deployment: str) -> int:
        """The version that a Deployment of the one namespace runs."""
        with self._lock:
            (found,) = (
                o
                for (_, what, n), o in self._objects.items()
                if (what, n) == ("deployments", deployment)
            )
        return int(found["spec"]["template"]["metadata"]["annotations"]["bert-qa/version"])

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
        _, _, rest = path.partition("/namespaces/")
        namespace, _, rest = rest.partition("/")
        plural, *names = rest.split("/")
        if plural not in KINDS:
            return failure(404, "NotFound", path)
        if plural in self.forbidden:
            return failure(403, "Forbidden", f"{plural} is forbidden")
        body = b"" if request.method == "DELETE" else await request.body()
        content = secret(body) if body.startswith(PROTOBUF) else yaml.safe_load(body or b"{}")
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
                items = [
                    found
                    for (where, what, _), found in sorted(self._objects.items())
                    if (where, what) == (namespace, plural) and selects(selector, found)
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
                self._put(key, content)
            case (("PUT" | "PATCH"), _):
                strategic = "strategic" in request.headers["content-type"]
                self._put(key, merged(self._objects.get(key, {}), content, strategic))
            case "DELETE", _:
                gone = self._objects.pop(key, None)
                if gone is not None:
                    self._roll_out()
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
        if plural == "deployments":
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
            ready = template["metadata"]["annotations"]["bert-qa/version"] in self.servers
            count = deployment["spec"].setdefault("replicas", 1)
            deployment["status"] = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": count,
                "updatedReplicas": count,
                **({"availableReplicas": count, "readyReplicas": count} if ready else {}),
            }
            for number in range(count):
                pod = (namespace, "pods", f"{name}-{number}")
                pods.discard(pod)
                condition = {"type": "Ready", "status": str(ready)}
                self._objects[pod] = {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {**template["metadata"], "name": pod[2], "namespace": namespace},
                    "spec": {"containers": [{"name": "ovms", "image": "ovms"}]},
                    "status": {"phase": "Running", "conditions": [condition]},
                }
        for pod in pods:
            del self._objects[pod]

    async def forward(self, websocket: WebSocket) -> None:
        """Carry a connection to a pod: channel 0 is data, 1 errors; each opens with the port."""
        namespace, name = websocket.path_params["namespace"], websocket.path_params["name"]
        pod = self._objects[namespace, "pods", name]
        port = int(websocket.query_params["ports"])
        await websocket.accept(PROTOCOL)
        for channel in (0, 1):
            await websocket.send_bytes(bytes([channel]) + struct.pack("<H", port))
        version = pod["metadata"]["annotations"]["bert-qa/version"]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.servers[version])

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


def discovery(path: str) -> Object | None:
    """Answer what clients ask to learn which kinds there are."""
    groups = [group for group in GROUPS if "/" in group]
    if path == "version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
    if path == "api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "apis":
        listed = []
        for group in groups:
            version = {"groupVersion": group, "version": group.split("/")[1]}
            name = group.split("/")[0]
            listed.append({"name": name, "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
    if path == "openapi/v3":
        return {
            "paths": {
                root(group): {"serverRelativeURL": f"/openapi/v3/{root(group)}?hash=1"}
                for group in GROUPS
            }
        }
    if path.startswith("openapi/v3/"):
        return validates_by_itself(path.removeprefix("openapi/v3/"))
    group = path.removeprefix("apis/").removeprefix("api/")
    if group in GROUPS and path == root(group):
        verbs = ["get", "list", "create", "update", "patch", "delete", "watch"]
        resources = [
            {"name": plural, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
            for kind, plural in GROUPS[group].items()
        ]
        return {"kind": "APIResourceList", "groupVersion": group, "resources": resources}
    return None


def root(group: str) -> str:
    return f"apis/{group}" if "/" in group else f"api/{group}"


def validates_by_itself(where: str) -> Object:
    """Report for each kind that the server checks fields, so that Helm does not."""
    group = where.partition("/")[2]
    name, _, version = group.rpartition("/")
    return {
        "openapi": "3.0.0",
        "paths": {
            f"/{where}/namespaces/{{namespace}}/{plural}/{{name}}": {
                "patch": {
                    "parameters": [{"name": "fieldValidation", "in": "query"}],
                    "x-kubernetes-group-version-kind": {
                        "group": name,
                        "version": version,
                        "kind": kind,
                    },
                }
            }
            for kind, plural in GROUPS[group].items()
        },
    }


def selects(selector: str, found: Object) -> bool:
    labels = found["metadata"].get("labels", {})
    pairs = (part.partition("=") for part in selector.split(",") if part)
    return all(labels.get(name) == value.lstrip("=") for name, _, value in pairs)


def secret(body: bytes) -> Object:
    """Read a Secret in protobuf, in which Helm sends its releases."""
    (raw,) = fields(body.removeprefix(PROTOBUF))[2]
    content = fields(raw)
    metadata = fields(content[1][0])
    return {
        "metadata": {
            "name": metadata[1][0].decode(),
            "labels": {
                key.decode(): value.decode() for key, value in map(entry, metadata.get(11, []))
            },
        },
        "data": {
            key.decode(): base64.b64encode(value).decode()
            for key, value in map(entry, content.get(2, []))
        },
        "type": content[3][0].decode(),
    }


def entry(message: bytes) -> tuple[bytes, bytes]:
    found = fields(message)
    return found.get(1, [b""])[0], found.get(2, [b""])[0]


def fields(message: bytes) -> dict[int, list[bytes]]:
    """Take a protobuf message apart: its length-delimited fields by their numbers."""
    found: dict[int, list[bytes]] = {}
    rest = io.BytesIO(message)
    while rest.tell() < len(message):
        number, kind = divmod(varint(rest), 8)
        value = rest.read(varint(rest)) if kind == 2 else bytes(varint(rest) and 0)
        found.setdefault(number, []).append(value)
    return found


def varint(stream: io.BytesIO) -> int:
    value = shift = 0
    while True:
        (byte,) = stream.read(1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7


def merged(before: Object, patch: Object, strategic: bool) -> Object:
    """Apply a merge patch; a strategic one, Helm 3's, merges lists of named things too."""
    after = dict(before)
    for key, value in patch.items():
        present = after.get(key)
        if value is None:
            after.pop(key, None)
        elif isinstance(value, dict) and isinstance(present, dict):
            after[key] = merged(present, value, strategic)
        elif strategic and isinstance(value, list) and isinstance(present, list):
            after[key] = merged_list(present, value)
        elif not key.startswith("$"):
            after[key] = value
    return after


def merged_list(before: list[Any], patch: list[Any]) -> list[Any]:
    names = [name for name in MERGE_KEYS if all(isinstance(e, dict) and name in e for e in patch)]
    if not names:
        return patch
    by_name = {each[names[0]]: each for each in before}
    for each in patch:
        if each.get("$patch") == "delete":
            by_name.pop(each[names[0]], None)
        else:
            by_name[each[names[0]]] = merged(by_name.get(each[names[0]], {}), each, True)
    return list(by_name.values())


def failure(code: int, reason: str, message: str) -> Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return JSONResponse({**status, "reason": reason, "message": message, "code": code}, code)


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
