"""The TensorFlow Serving API over gRPC, as OVMS had it up to 2026.2; needs `ovmsclient`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ovmsclient.tfs_compat.protos.tensorflow.core.framework import types_pb2
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
    get_model_metadata_pb2 as metadata_pb,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
    get_model_status_pb2 as status_pb,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import (
    model_management_pb2 as management_pb,
)
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import predict_pb2 as predict_pb

from bertqa_serve.engine.grpc_api import generic_handler
from bertqa_serve.engine.limits import GrpcThreads
from bertqa_serve.engine.model import TensorSpec
from bertqa_serve.engine.request_error import RequestError, invalid
from bertqa_serve.engine.service import Service, Tensor

_SIGNATURES = "signature_def"
_SIGNATURE_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_DTYPES = {
    "STRING": types_pb2.DT_STRING,
    "BOOL": types_pb2.DT_BOOL,
    "UINT8": types_pb2.DT_UINT8,
    "UINT16": types_pb2.DT_UINT16,
    "UINT32": types_pb2.DT_UINT32,
    "UINT64": types_pb2.DT_UINT64,
    "INT8": types_pb2.DT_INT8,
    "INT16": types_pb2.DT_INT16,
    "INT32": types_pb2.DT_INT32,
    "INT64": types_pb2.DT_INT64,
    "FP16": types_pb2.DT_HALF,
    "FP32": types_pb2.DT_FLOAT,
    "FP64": types_pb2.DT_DOUBLE,
}
_DATATYPES = {dtype: datatype for datatype, dtype in _DTYPES.items()}
_NO_DATATYPE = "INVALID"  # What OVMS calls a type that it does not know.
_STATES = status_pb.ModelVersionStatus.State

Method = Callable[[Any], Awaitable[Any]]


class TensorFlowServingGrpc:
    """The methods that OVMS had; like OVMS, it ignores version labels and signature names."""

    def __init__(self, service: Service, threads: GrpcThreads) -> None:
        self._service = service
        self._threads = threads

    def handlers(self) -> tuple[Any, ...]:
        """Return the handlers to add to a gRPC server."""
        return (
            generic_handler(
                "tensorflow.serving.PredictionService",
                {
                    "Predict": (_in_tfs_words(self._predict), predict_pb.PredictRequest),
                    "GetModelMetadata": (self._metadata, metadata_pb.GetModelMetadataRequest),
                },
                self._threads,
            ),
            generic_handler(
                "tensorflow.serving.ModelService",
                {
                    "GetModelStatus": (self._status, status_pb.GetModelStatusRequest),
                    "HandleReloadConfigRequest": (self._reload, management_pb.ReloadConfigRequest),
                },
                self._threads,
            ),
        )

    async def _predict(self, request: Any) -> Any:
        spec = request.model_spec
        answer = await self._service.infer(
            "gRPC",
            spec.name,
            spec.version.value,
            lambda: [_tensor(name, given) for name, given in request.inputs.items()],
        )
        response = predict_pb.PredictResponse()
        for output, array in answer.outputs:
            proto = response.outputs[output.name]
            proto.dtype = _DTYPES[output.datatype]
            for size in array.shape:
                proto.tensor_shape.dim.add(size=size)
            proto.tensor_content = array.tobytes()
        return response

    async def _metadata(self, request: Any) -> Any:
        if not request.HasField("model_spec"):
            raise invalid("model_spec missing in request")
        if list(request.metadata_field) != [_SIGNATURES]:
            raise invalid("Invalid signature name")
        name, number = request.model_spec.name, request.model_spec.version.value or None
        found = self._service.describe("gRPC", name, number)
        signatures = metadata_pb.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        for specs, infos in ((found.inputs, signature.inputs), (found.outputs, signature.outputs)):
            for spec in specs:
                _describe(spec, infos[spec.name])
        response = metadata_pb.GetModelMetadataResponse()
        response.model_spec.name = name
        response.model_spec.version.value = found.version
        response.metadata[_SIGNATURES].type_url = _SIGNATURE_TYPE
        response.metadata[_SIGNATURES].value = signatures.SerializeToString()
        return response

    async def _status(self, request: Any) -> Any:
        model = self._service.manager.model(request.model_spec.name)
        number = request.model_spec.version.value
        numbers = [model.version(number).number] if number else sorted(model.versions)
        response = status_pb.GetModelStatusResponse()
        for version in (model.versions[number] for number in numbers):
            status = response.model_version_status.add(
                version=version.number, state=_STATES.Value(version.state)
            )
            status.status.error_code = 2 if version.failed else 0  # UNKNOWN or OK
            status.status.error_message = "UNKNOWN" if version.failed else "OK"
        return response

    async def _reload(self, _: Any) -> Any:
        """OVMS has this method and does nothing in it."""
        return management_pb.ReloadConfigResponse()


def _in_tfs_words(method: Method) -> Method:
    """Reword the errors of a method as OVMS does for this API."""

    async def translated(request: Any) -> Any:
        try:
            return await method(request)
        except RequestError as error:
            text = error.text.replace("input name: input name:", "input name:")
            text = text.replace("Actual: UINT", "Actual: U").replace("Actual: INT", "Actual: I")
            raise RequestError(error.code, text) from error

    return translated


def _tensor(name: str, proto: Any) -> Tensor:
    datatype = _DATATYPES.get(proto.dtype, _NO_DATATYPE)
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    return Tensor(name, datatype, shape, raw=proto.tensor_content)


def _describe(spec: TensorSpec, info: Any) -> None:
    info.name = spec.name
    info.dtype = _DTYPES[spec.datatype]
    for size in spec.shape:
        info.tensor_shape.dim.add(size=size)
