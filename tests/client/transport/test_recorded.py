"""What a real OVMS was sent and answered, as `tests/serve/ovms` keeps it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from google.protobuf import json_format
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import predict_pb2
from tritonclient.grpc import service_pb2

from bertqa.transport.codecs import KServeCodec, RestCodec
from bertqa.transport.codecs._rest import JSON_LENGTH
from bertqa.transport.codecs.tfserving import TFServingCodec

TRANSCRIPTS = Path(__file__).parents[2] / "serve" / "ovms" / "transcripts"
# The recorded models compute these from `input_ids`, by version: start and end logits.
MODELS = {1: (1, 0, 2, 0), 2: (10, 0, 20, 1)}


def steps(scenario: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(
        (TRANSCRIPTS / f"{scenario}.json").read_text(encoding="utf-8")
    )
    return loaded


def assert_computed(outputs: Any, version: int, ids: Any) -> None:
    start_factor, start_term, end_factor, end_term = MODELS[version]
    assert outputs["start_logits"].dtype == np.float32
    assert outputs["start_logits"].tolist() == (ids * start_factor + start_term).tolist()
    assert outputs["end_logits"].tolist() == (ids * end_factor + end_term).tolist()


def arrays(request: Any) -> dict[str, Any]:
    return {
        each.name: np.frombuffer(content, dtype="<i8").reshape(tuple(each.shape))
        for each, content in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def test_kserve_messages_are_written_and_read_as_ovms_does() -> None:
    met = 0
    for step in steps("infer_ok"):
        if step["do"] != "grpc" or not step["request"].get("raw_input_contents"):
            continue
        request = json_format.ParseDict(step["request"], service_pb2.ModelInferRequest())
        if {each.name for each in request.inputs} != {
            "input_ids",
            "attention_mask",
            "token_type_ids",
        }:
            continue
        inputs = arrays(request)
        version = int(request.model_version) if request.model_version else None
        codec = KServeCodec(request.model_name)
        written = codec.infer_request(inputs, version)
        if not (request.id or request.parameters or request.outputs or version == 0):
            assert written == request
        response = json_format.ParseDict(step["response"], service_pb2.ModelInferResponse())
        result = codec.infer_result(response, version)
        if request.model_name == "bert-qa":
            assert_computed(result.outputs, result.model_version, inputs["input_ids"])
        met += 1
    assert met >= 10


def test_kserve_metadata_is_read_over_grpc_and_rest() -> None:
    recorded = steps("metadata")
    grpc_step = next(
        step
        for step in recorded
        if step.get("method") == "ModelMetadata" and step["request"] == {"name": "bert-qa"}
    )
    rest_step = next(step for step in recorded if step.get("path") == "/v2/models/bert-qa")
    over_grpc = KServeCodec("bert-qa").model_metadata(
        json_format.ParseDict(grpc_step["response"], service_pb2.ModelMetadataResponse())
    )
    over_rest = RestCodec("bert-qa").model_metadata(json.dumps(rest_step["response"]).encode())
    assert over_grpc.name == over_rest.name == "bert-qa"
    assert over_grpc.versions == over_rest.versions == (1, 2)
    assert over_grpc.inputs == over_rest.inputs
    assert over_grpc.outputs == over_rest.outputs == {"start_logits": "FP32", "end_logits": "FP32"}
    assert over_rest.rt_info["task"] == "question-answering"


def test_rest_bodies_are_read_json_and_binary() -> None:
    binary = plain = 0
    for step in steps("infer_ok"):
        if step["do"] != "rest" or "/bert-qa" not in step["path"] or step["status"] != 200:
            continue
        response = step["response"]
        headers = httpx.Headers()
        if step.get("response_encoding") == "json header + binary":
            head = json.dumps(response["json"]).encode()
            body = head + base64.b64decode(response["binary_base64"])
            headers = httpx.Headers({JSON_LENGTH: str(len(head))})
            binary += 1
        else:
            body = json.dumps(response).encode()
            plain += 1
        result = RestCodec("bert-qa").infer_result(body, headers)
        start_factor, start_term, end_factor, end_term = MODELS[result.model_version]
        ids = (result.outputs["start_logits"] - start_term) / start_factor
        assert np.array_equal(result.outputs["end_logits"], ids * end_factor + end_term)
    assert binary >= 3
    assert plain >= 10


def test_tensorflow_serving_is_spoken_as_ovms_2026_2_does() -> None:
    met = 0
    for step in steps("tfs"):
        if step["do"] != "grpc" or not step["name"].endswith("tensor_content"):
            continue
        request = json_format.ParseDict(step["request"], predict_pb2.PredictRequest())
        version = request.model_spec.version.value or None
        inputs = {
            name: np.frombuffer(tensor.tensor_content, dtype="<i8").reshape(
                [dimension.size for dimension in tensor.tensor_shape.dim]
            )
            for name, tensor in request.inputs.items()
        }
        codec = TFServingCodec("bert-qa")
        if request.model_spec.HasField("version") == (version is not None):
            assert codec.infer_request(inputs, version) == request
        response = json_format.ParseDict(step["response"], predict_pb2.PredictResponse())
        result = codec.infer_result(response, version or 2)
        assert_computed(result.outputs, version or 2, inputs["input_ids"])
        met += 1
    assert met >= 4
