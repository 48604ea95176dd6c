"""What the TensorFlow Serving API refuses."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from ovmsclient.tfs_compat.protos.tensorflow.core.framework import types_pb2
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import predict_pb2

from bertqa.artifact import INPUTS
from bertqa_serve.engine import LocalServer
from tests.support.models import write_config, write_toy_version


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    root = tmp_path_factory.mktemp("repository")
    write_toy_version(root, 1)
    with LocalServer(write_config(root), poll_seconds=0, tensorflow_serving=True) as server:
        yield server


def predict(server: LocalServer, dtype: int) -> predict_pb2.PredictResponse:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "bert-qa"
    for name in INPUTS:
        tensor = request.inputs[name]
        tensor.dtype = dtype
        for size in (1, 4):
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = np.ones((1, 4), dtype=np.int64).tobytes()
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        return call(request, timeout=60)


def test_a_good_request_is_answered(server: LocalServer) -> None:
    assert predict(server, types_pb2.DT_INT64).outputs["start_logits"].dtype == types_pb2.DT_FLOAT


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (types_pb2.DT_INT32, "I32"),
        (types_pb2.DT_UINT64, "U64"),
        (types_pb2.DT_STRING, "STRING"),
        (types_pb2.DT_COMPLEX64, "INVALID"),
        (9999, "INVALID"),
    ],
)
def test_an_input_of_another_type_is_refused_in_ovms_words(
    server: LocalServer, dtype: int, name: str
) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        predict(server, dtype)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"Invalid input precision - Expected: I64; Actual: {name};" in raised.value.details()
