"""KServe v2 over gRPC, as OVMS has it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode
from tritonclient.grpc import service_pb2 as pb

from bertqa_serve.engine.limits import GrpcThreads
from bertqa_serve.engine.request_error import RequestError, internal, invalid
from bertqa_serve.engine.service import SERVER_NAME, Service, Tensor

logger = logging.getLogger("bertqa_serve")

SERVICE_NAME = "inference.GRPCInferenceService"
_VERSION = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_TWO_BUFFERS = (
    "Passing buffers both in ModelInferRequest::InferInputTensor::contents "
    "and in ModelInferRequest::raw_input_contents is not allowed - "
)
# In which field the single values of each datatype are.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}

Method = Callable[[Any], Awaitable[Any]]


class KServeGrpc:
    """The methods of `GRPCInferenceService` that OVMS implements."""

    def __init__(self, service: Service, version: str, threads: GrpcThreads) -> None:
        self._service = service
        self._version = version
        self._threads = threads

    def handler(self) -> Any:
        """Return the handler to add to a gRPC server."""
        methods: dict[str, tuple[Method, Any]] = {
            "ServerLive": (self._server_live, pb.ServerLiveRequest),
            "ServerReady": (self._server_ready, pb.ServerReadyRequest),
            "ServerMetadata": (self._server_metadata, pb.ServerMetadataRequest),
            "ModelReady": (self._model_ready, pb.ModelReadyRequest),
            "ModelMetadata": (self._model_metadata, pb.ModelMetadataRequest),
            "ModelInfer": (self._model_infer, pb.ModelInferRequest),
        }
        return generic_handler(SERVICE_NAME, methods, self._threads)

    async def _server_live(self, _: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, _: Any) -> Any:
        return pb.ServerReadyResponse(ready=self._service.manager.ready)

    async def _server_metadata(self, _: Any) -> Any:
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=self._version)

    async def _model_ready(self, request: Any) -> Any:
        number = _number(request.version)
        ready = self._service.model_ready("gRPC", request.name, number)
        return pb.ModelReadyResponse(ready=ready)

    async def _model_metadata(self, request: Any) -> Any:
        found = self._service.describe("gRPC", request.name, _number(request.version))
        response = pb.ModelMetadataResponse(
            name=found.name, versions=map(str, found.versions), platform="OpenVINO"
        )
        for specs, field in ((found.inputs, response.inputs), (found.outputs, response.outputs)):
            for spec in specs:
                field.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
        return response

    async def _model_infer(self, request: Any) -> Any:
        number = _number(request.model_version)
        answer = await self._service.infer(
            "gRPC", request.model_name, number, lambda: _tensors(request)
        )
        response = pb.ModelInferResponse(
            model_name=request.model_name, model_version=str(answer.version), id=request.id
        )
        for spec, array in answer.outputs:
            response.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response


def generic_handler(
    service_name: str, methods: dict[str, tuple[Method, Any]], threads: GrpcThreads
) -> Any:
    """Return a gRPC handler for the methods of a service.

    A call whose caller gave up is not stopped: it keeps its thread and is counted, as in OVMS.

    Args:
        service_name: The full name of the service.
        methods: The methods by name, each with the type of its request. A method returns the
            response, or raises RequestError.
        threads: What carries the calls.
    """
    under_way: set[asyncio.Task[Any]] = set()  # The event loop itself keeps no task alive.

    def serving(method: Method, request_type: Any) -> Callable[[bytes, Any], Awaitable[Any]]:
        async def answer(request: bytes) -> Any:
            try:
                with threads.one():
                    return await method(request_type.FromString(request))
            except RequestError as error:
                return error
            except DecodeError:
                return RequestError(StatusCode.INTERNAL, "")
            except Exception:
                logger.exception("A request over gRPC failed")
                return internal()

        async def serve(request: bytes, context: Any) -> Any:
            call = asyncio.create_task(answer(request))
            under_way.add(call)
            call.add_done_callback(under_way.discard)
            answered = await asyncio.shield(call)
            if isinstance(answered, RequestError):
                await context.abort(answered.code, answered.text)
            return answered

        return serve

    return grpc.method_handlers_generic_handler(
        service_name,
        {
            name: grpc.unary_unary_rpc_method_handler(
                serving(method, request_type),
                response_serializer=lambda response: response.SerializeToString(),
            )
            for name, (method, request_type) in methods.items()
        },
    )


def _number(text: str) -> int | None:
    """Read a version as OVMS does; an empty one is the default one."""
    if not text:
        return None
    if not _VERSION.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise invalid("invalid model version format in request")
    return int(text)


def _tensors(request: Any) -> list[Tensor]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise invalid(
            f"{_TWO_BUFFERS}Size of raw_input_contents: {len(raw)} is different than "
            f"number of inputs: {len(request.inputs)}"
        )
    tensors = []
    for index, given in enumerate(request.inputs):
        if raw and given.HasField("contents"):
            raise invalid(
                f"{_TWO_BUFFERS}Passing buffers both in InferInputTensor contents and in "
                "raw_input_contents is not allowed. Detected buffer in InferInputTensor contents "
                f"for input: {given.name}"
            )
        field = _CONTENTS.get(given.datatype)
        values = getattr(given.contents, field) if field else ()
        tensors.append(
            Tensor(
                name=given.name,
                datatype=given.datatype,
                shape=tuple(given.shape),
                raw=raw[index] if raw else None,
                values=values,
            )
        )
    return tensors
