"""KServe v2 over gRPC."""

from __future__ import annotations

from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from bertqa.errors import ProtocolError
from bertqa.transport._contract import InferResult, Inputs, ModelMetadata
from bertqa.transport.codecs._tensors import output_array, version_number


class KServeCodec:
    """Speaks `inference.GRPCInferenceService`, with raw tensor contents. Implements `Codec`."""

    names_version = True
    infer_method = "/inference.GRPCInferenceService/ModelInfer"
    metadata_method = "/inference.GRPCInferenceService/ModelMetadata"
    infer_response = service_pb2.ModelInferResponse
    metadata_response = service_pb2.ModelMetadataResponse

    def __init__(self, model: str) -> None:
        self._model = model

    def infer_request(self, inputs: Inputs, version: int | None) -> Any:
        """Return a `ModelInferRequest`; see `Codec`."""
        return service_pb2.ModelInferRequest(
            model_name=self._model,
            model_version=_version_text(version),
            inputs=[
                service_pb2.ModelInferRequest.InferInputTensor(
                    name=name, datatype="INT64", shape=array.shape
                )
                for name, array in inputs.items()
            ],
            raw_input_contents=[
                np.ascontiguousarray(array, dtype="<i8").tobytes() for array in inputs.values()
            ],
        )

    def infer_result(self, response: Any, version: int | None) -> InferResult:
        """Decode a `ModelInferResponse`; see `Codec`."""
        outputs, contents = response.outputs, response.raw_output_contents
        if len(outputs) != len(contents):
            raise ProtocolError(
                f"The server sent {len(outputs)} outputs, but contents for {len(contents)}."
            )
        return InferResult(
            {
                output.name: output_array(output.name, output.datatype, output.shape, content)
                for output, content in zip(outputs, contents, strict=True)
            },
            version_number(response.model_version),
        )

    def metadata_request(self, version: int | None) -> Any:
        """Return a `ModelMetadataRequest`; see `Codec`."""
        return service_pb2.ModelMetadataRequest(name=self._model, version=_version_text(version))

    def model_metadata(self, response: Any) -> ModelMetadata:
        """Decode a `ModelMetadataResponse`, which carries no `rt_info`; see `Codec`."""
        return ModelMetadata(
            name=response.name,
            versions=tuple(version_number(text) for text in response.versions),
            inputs={tensor.name: tensor.datatype for tensor in response.inputs},
            outputs={tensor.name: tensor.datatype for tensor in response.outputs},
            rt_info={},
        )


def _version_text(version: int | None) -> str:
    return "" if version is None else str(version)
