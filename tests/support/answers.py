"""Sending OVMS's recorded requests to a server, and comparing the answers of both."""

from __future__ import annotations

import base64
import copy
import gzip
import http.client
import json
import math
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf import json_format
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2

from tests.support.servers import Server, Step

DEADLINE_SECONDS = 300.0
_KSERVE = "inference.GRPCInferenceService"
_NO_ANSWER = {"transport_error": "no answer"}
RECORDED = (
    "status",
    "response_headers",
    "response",
    "code",
    "details",
    "exit_code",
    "reached",
    "answered",
)

Answer = dict[str, Any]


def quicker(step: Step, scale: float) -> Step:
    """The request of a step that waits for another one, or is waited for, on a quicker clock.

    Clients wait `scale` times as long, and the slow model counts up to `scale` times the number in
    the background.
    """
    if scale == 1:
        return step
    found = copy.deepcopy(dict(step))
    if "client_timeout" in found:
        found["client_timeout"] *= scale
    if not found.get("background"):
        return found
    answer = found.get("response", {})  # None came where the call was cancelled.
    if found.get("path") == "/v2/models/slow/infer":
        body = json.loads(found["body"])
        for tensor in (*body["inputs"], *answer.get("outputs", ())):
            tensor["data"] = [int(number * scale) for number in tensor["data"]]
        found["body"] = json.dumps(body)
    if found.get("request", {}).get("model_name") == "slow":
        for message, key, dtype in (
            (found["request"], "raw_input_contents", "<i8"),
            (answer, "raw_output_contents", "<f4"),
        ):
            for place, blob in enumerate(message.get(key, ())):
                numbers = np.frombuffer(base64.b64decode(blob), dtype) * scale
                message[key][place] = base64.b64encode(numbers.astype(dtype).tobytes()).decode()
    return found


def ask_rest(server: Server, step: Step) -> Answer:
    """Send a recorded REST request."""
    text: str | None = step.get("body")
    encoded = step.get("body_encoding") == "base64"
    body = None
    if text is not None:
        body = base64.b64decode(text) if encoded else text.encode()
    return rest(
        server,
        step["method"],
        step["path"],
        step.get("headers", {}),
        body,
        step.get("client_timeout", DEADLINE_SECONDS),
    )


def rest(
    server: Server,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = DEADLINE_SECONDS,
) -> Answer:
    """Send a REST request over a connection of its own."""
    connection = http.client.HTTPConnection(server.host, server.rest_port, timeout)
    headers = dict(headers or {})
    chunked = headers.get("Transfer-Encoding") == "chunked"
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for key, value in headers.items():
            connection.putheader(key, value)
        if body is not None and not chunked:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(iter([body]) if chunked and body else body, encode_chunked=chunked)
        response = connection.getresponse()
        return _rest_answer(response, response.read())
    except (OSError, http.client.HTTPException):
        return dict(_NO_ANSWER)
    finally:
        connection.close()


def grpc_connection(server: Server) -> grpc.Channel:
    """Open a connection that nothing shares, for messages of any size."""
    options = {
        "grpc.use_local_subchannel_pool": 1,
        "grpc.max_send_message_length": -1,
        "grpc.max_receive_message_length": -1,
    }
    return grpc.insecure_channel(f"{server.host}:{server.grpc_port}", options=[*options.items()])


def ask_grpc(server: Server, step: Step, channel: grpc.Channel | None = None) -> Answer:
    """Send a recorded gRPC request over a connection of its own, or over a given one."""
    if channel is None:
        with grpc_connection(server) as own:
            return ask_grpc(server, step, own)
    service, method = step.get("service", _KSERVE), step["method"]
    request_type, response_type = _message_types(service, method)
    request = json_format.ParseDict(step["request"], request_type())
    for tensor in request.inputs if "zeros" in step else ():
        tensor.shape[:] = step["zeros"]
        request.raw_input_contents.append(bytes(8 * math.prod(step["zeros"])))
    timeout = step.get("client_timeout", DEADLINE_SECONDS)
    coding = {
        "request_serializer": lambda message: message.SerializeToString(),
        "response_deserializer": response_type.FromString,
    }
    try:
        if method == "ModelStreamInfer":
            call = channel.stream_stream(f"/{service}/{method}", **coding)
            response = next(call(iter([request]), timeout=timeout))
        else:
            call = channel.unary_unary(f"/{service}/{method}", **coding)
            response = call(request, timeout=timeout)
    except grpc.RpcError as error:
        return _grpc_failure(error)
    return {"code": "OK"} if "zeros" in step else {"code": "OK", "response": _as_json(response)}


def _as_json(message: Any) -> dict[str, Any]:
    for packed in getattr(message, "metadata", {}).values():
        # Whose package it is lies in the name of a type; ovmsclient renamed it.
        packed.type_url = packed.type_url.replace("/tensorflow.", "/ovmsclient.")
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def _message_types(service: str, method: str) -> tuple[Any, Any]:
    if service != _KSERVE:
        return _tfs_message_types(method)
    name = method.replace("ModelStreamInfer", "ModelInfer")
    empty = service_pb2.ServerLiveRequest
    request_type = getattr(service_pb2, f"{name}Request", empty)
    return request_type, getattr(service_pb2, f"{name}Response", empty)


def _tfs_message_types(method: str) -> tuple[Any, Any]:
    modules = (predict_pb2, get_model_metadata_pb2, get_model_status_pb2)
    for module in modules:
        if hasattr(module, f"{method}Request"):
            return getattr(module, f"{method}Request"), getattr(module, f"{method}Response")
    return model_management_pb2.ReloadConfigRequest, model_management_pb2.ReloadConfigResponse


def _grpc_failure(error: Any) -> Answer:
    details = error.details() or ""
    if error.code() is grpc.StatusCode.UNAVAILABLE and (
        "connect" in details or "GOAWAY" in details
    ):
        details = "{TRANSPORT: connection refused or closed}"
    return {"code": error.code().name, "details": details}


def _rest_answer(response: http.client.HTTPResponse, content: bytes) -> Answer:
    headers = {key.lower(): value for key, value in response.getheaders()}
    if headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
    json_size = headers.get("inference-header-content-length")
    body: object
    if json_size is not None:
        blob = base64.b64encode(content[int(json_size) :]).decode()
        body = {"json": json.loads(content[: int(json_size)]), "binary_base64": blob}
    elif content.startswith(b"# HELP"):
        body = _metrics(content.decode())
    else:
        try:
            body = json.loads(content)
        except ValueError:
            body = content.decode(errors="replace")
    return {"status": response.status, "response_headers": headers, "response": body}


def _metrics(text: str) -> list[dict[str, Any]]:
    families = []
    for family in text_string_to_metric_families(text):
        described: dict[str, Any] = {
            "name": family.name,
            "help": family.documentation,
            "type": family.type,
        }
        samples: dict[str, dict[str, Any]] = {}
        bounds: set[str] = set()
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if key != "le"}
            found = samples.setdefault(json.dumps(labels, sort_keys=True), {"labels": labels})
            if sample.name.endswith("_bucket"):
                bounds.add(sample.labels["le"])
            else:
                kind = sample.name.removeprefix(family.name).lstrip("_") or "value"
                found["value" if kind == "total" else kind] = sample.value
        described["samples"] = [samples[key] for key in sorted(samples)]
        if bounds:
            described["le"] = sorted(map(float, bounds))
        families.append(described)
    return sorted(families, key=lambda one: str(one["name"]))


def expected_of(step: Step) -> Answer:
    """What of a recorded step is compared."""
    if "transport_error" in step:
        return dict(_NO_ANSWER)
    expected = {key: step[key] for key in RECORDED if key in step}
    if "method" in step and "code" in expected and "response" in expected:
        service = step.get("service", _KSERVE)
        message = _message_types(service, step["method"])[1]()
        text = json.dumps(expected["response"]).replace("/tensorflow.", "/ovmsclient.")
        expected["response"] = _as_json(json_format.Parse(text, message))
    if isinstance(expected.get("response"), list):
        expected["response"] = [
            {**family, "le": sorted(map(float, family["le"]))} if "le" in family else family
            for family in expected["response"]
        ]
    return expected


def accepts(step: Step, actual: Answer) -> bool:
    """Whether an answer is what OVMS answered, or one of several such answers."""
    expected = [expected_of(step), *map(expected_of, step.get("also_seen", ()))]
    return any(_agree(one, actual) for one in expected)


def _agree(expected: Answer, actual: Answer) -> bool:
    return all(
        _same_headers(value, actual.get(key, {}))
        if key == "response_headers"
        else _same(value, actual.get(key))
        for key, value in expected.items()
    )


def _same_headers(expected: Mapping[str, str], actual: Mapping[str, str]) -> bool:
    encoding = "content-encoding"
    return expected.get(encoding) == actual.get(encoding) and all(
        key in actual and (value == actual[key] or key == "inference-header-content-length")
        for key, value in expected.items()
    )


def _same(expected: Any, actual: Any) -> bool:
    if expected in ("{NONDETERMINISTIC}", "{UNIX_TIME}"):
        return isinstance(actual, int | float)
    if isinstance(expected, dict) and isinstance(actual, dict):
        if expected.get("name") == "OpenVINO Model Server":
            return expected.keys() == actual.keys() and expected["name"] == actual["name"]
        return expected.keys() == actual.keys() and all(
            _same(value, actual[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    return bool(expected == actual)
