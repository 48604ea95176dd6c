"""What clients of a Kubernetes API server send and expect: groups, selectors, patches, protobuf."""

from __future__ import annotations

import base64
import io
from typing import Any

from starlette.responses import JSONResponse, Response

GROUPS = {
    "v1": {
        "Secret": "secrets",
        "ConfigMap": "configmaps",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
        "Pod": "pods",
        "PodTemplate": "podtemplates",
        "Event": "events",
        "PersistentVolumeClaim": "persistentvolumeclaims",
    },
    "apps/v1": {"Deployment": "deployments"},
    "batch/v1": {"Job": "jobs"},
    "rbac.authorization.k8s.io/v1": {"Role": "roles", "RoleBinding": "rolebindings"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "discovery.k8s.io/v1": {"EndpointSlice": "endpointslices"},
    "keda.sh/v1alpha1": {"ScaledObject": "scaledobjects"},
    "gateway.networking.k8s.io/v1": {"HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes"},
    "serving.kserve.io/v1beta1": {"InferenceService": "inferenceservices"},
    "argoproj.io/v1alpha1": {"Rollout": "rollouts", "AnalysisTemplate": "analysistemplates"},
    "trainer.kubeflow.org/v1alpha1": {"TrainJob": "trainjobs"},
    "monitoring.coreos.com/v1": {"ServiceMonitor": "servicemonitors"},
}
KINDS = {plural: kind for kinds in GROUPS.values() for kind, plural in kinds.items()}
MERGE_KEYS = ("name", "mountPath", "containerPort", "port")
# What an API server says of an object that was scaled with kubectl.
SCALED = (
    'Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: '
    ".spec.replicas"
)
PROTOBUF = b"k8s\0"

Object = dict[str, Any]


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


def is_ready(endpoints: list[Object]) -> bool:
    return any(each["conditions"]["ready"] for each in endpoints)


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
