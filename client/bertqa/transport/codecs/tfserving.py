"""TensorFlow Serving's API over gRPC, which OVMS speaks up to 2026.2; needs `ovmsclient`."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from ovmsclient.tfs_compat.grpc.tensors import make_tensor_proto
from ovmsclient.tfs_compat.protos.tensorflow.core.framework.types_pb2 import DataType
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
)

from bertqa.errors import ProtocolError
from bertqa.transport._contract import InferResult, Inputs, ModelMetadata
from bertqa.transport.codecs._tensors import output_array

_SIGNATURES = "signature_def"
_SIGNATURE = "serving_default"
_KSERVE_TYPES = {"DT_INT64": "INT64", "DT_FLOAT": "FP32"}


class TFServingCodec:
    """Speaks `tensorflow.serving.PredictionService`, with raw contents. Implements `Codec`."""

    names_version = False
    infer_method = "/tensorflow.serving.PredictionService/Predict"
    metadata_method = "/tensorflow.serving.PredictionService/GetModelMetadata"
    infer_response = predict_pb2.PredictResponse
    metadata_response = get_model_metadata_pb2.GetModelMetadataResponse

    def __init__(self, model: str) -> None:
        self._model = model

    def infer_request(self, inputs: Inputs, version: int | None) -> Any:
        """Return a `PredictRequest`; see `Codec`."""
        request = predict_pb2.PredictRequest()
        self._set_model(request, version)
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(make_tensor_proto(array.astype(np.int64, copy=False)))
        return request

    def infer_result(self, response: Any, version: int | None) -> InferResult:
        """Decode a `PredictResponse`; see `Codec`."""
        assert version is not None
        return InferResult(
            {
                name: output_array(
                    name,
                    _datatype(name, tensor.dtype),
                    [dimension.size for dimension in tensor.tensor_shape.dim],
                    tensor.tensor_content,
                )
                for name, tensor in response.outputs.items()
            },
            version,
        )

    def metadata_request(self, version: int | None) -> Any:
        """Return a `GetModelMetadataRequest`; see `Codec`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[_SIGNATURES])
        self._set_model(request, version)
        return request

    def model_metadata(self, response: Any) -> ModelMetadata:
        """Decode a `GetModelMetadataResponse`: one version, and no `rt_info`; see `Codec`."""
        signatures = get_model_metadata_pb2.SignatureDefMap()
        try:
            signatures.ParseFromString(response.metadata[_SIGNATURES].value)
        except DecodeError as error:
            raise ProtocolError(f"The server's metadata cannot be read: {error}.") from error
        signature = signatures.signature_def[_SIGNATURE]
        return ModelMetadata(
            name=response.model_spec.name,
            versions=(response.model_spec.version.value,),
            inputs={name: _datatype(name, info.dtype) for name, info in signature.inputs.items()},
            outputs={name: _datatype(name, info.dtype) for name, info in signature.outputs.items()},
            rt_info={},
        )

    def _set_model(self, request: Any, version: int | None) -> None:
        request.model_spec.name = self._model
        if version is not None:
            request.model_spec.version.value = version


def _datatype(tensor: str, number: int) -> str:
    """Return the KServe datatype of a TensorFlow one, or TensorFlow's name where there is none."""
    if number not in DataType.values():
        raise ProtocolError(
            f"The server's tensor {tensor!r} has the data type {number}, which TensorFlow does "
            "not define."
        )
    name: str = DataType.Name(number)
    return _KSERVE_TYPES.get(name, name)
