"""KServe v2 over gRPC."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from bertqa import defaults
from bertqa.errors import DeadlineExceededError, ProtocolError, ServerUnreachableError
from bertqa.transport.address import Address
from bertqa.transport.base import (
    AsyncTransport,
    InferResult,
    Inputs,
    ModelMetadata,
    Transport,
)
from bertqa.transport.failures import Asked
from bertqa.transport.retrying import service_config
from bertqa.transport.security import Security
from bertqa.transport.tensors import output_array, version_number


class _Protocol:
    """What both transports do with messages, and what they know of the connection."""

    def __init__(self, address: Address, model: str, security: Security) -> None:
        self._address = address
        self._model = model
        self._security = security
        self._headers = tuple(security.headers.items())
        # Once met, a server that goes away is waited for; one that was never there is not.
        self._met = False

    def _channel_arguments(self) -> dict[str, Any]:
        return channel_arguments(self._address)

    def _infer_request(self, inputs: Inputs, version: int | None) -> Any:
        return messages.ModelInferRequest(
            model_name=self._model,
            model_version=_version_text(version),
            inputs=[
                messages.ModelInferRequest.InferInputTensor(
                    name=name, datatype="INT64", shape=array.shape
                )
                for name, array in inputs.items()
            ],
            raw_input_contents=[
                np.ascontiguousarray(array, dtype="<i8").tobytes() for array in inputs.values()
            ],
        )

    def _infer_result(self, response: Any) -> InferResult:
        outputs, contents = response.outputs, response.raw_output_contents
        if len(outputs) != len(contents):
            raise ProtocolError(
                f"{self._address} sent {len(outputs)} outputs, but contents for {len(contents)}."
            )
        return InferResult(
            {
                output.name: output_array(output.name, output.datatype, output.shape, content)
                for output, content in zip(outputs, contents, strict=True)
            },
            version_number(response.model_version),
        )

    def _metadata_request(self, version: int | None) -> Any:
        return messages.ModelMetadataRequest(name=self._model, version=_version_text(version))

    def _model_metadata(self, response: Any) -> ModelMetadata:
        return ModelMetadata(
            name=response.name,
            versions=tuple(version_number(text) for text in response.versions),
            inputs={each.name: each.datatype for each in response.inputs},
            outputs={each.name: each.datatype for each in response.outputs},
            rt_info={},
        )

    def _call_arguments(self, timeout: float) -> dict[str, Any]:
        return {
            "timeout": timeout,
            "metadata": self._headers,
            "wait_for_ready": self._met or None,
        }

    @contextlib.contextmanager
    def _translating(self, version: int | None, timeout: float) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            asked = Asked(str(self._address), self._model, version, timeout)
            code, detail = error.code().name, error.details() or ""
            if code == "DEADLINE_EXCEEDED" and "connect" in detail.lower():
                raise asked.unreachable(detail) from error
            raise asked.error(code, detail) from error
        self._met = True

    @contextlib.contextmanager
    def _learning(self) -> Iterator[None]:
        """Say why REST is asked at all, where that fails."""
        try:
            yield
        except (ServerUnreachableError, DeadlineExceededError, ProtocolError) as error:
            raise type(error)(
                f"{error} (The model behind {self._address} says over REST which tokenizer it "
                "takes. Where its REST address is another one, pass metadata_url=; where there is "
                "none, pass tokenizer=.)",
                detail=error.detail,
            ) from error


class GrpcTransport(_Protocol):
    """Asks over one gRPC channel.

    OVMS gives a model's `rt_info` over REST alone: `metadata` asks `rest` where it is given.
    """

    def __init__(
        self, address: Address, model: str, security: Security, rest: Transport | None = None
    ) -> None:
        super().__init__(address, model, security)
        self._rest = rest
        if address.is_secure:
            self._channel = grpc.secure_channel(
                **self._channel_arguments(), credentials=security.grpc_credentials()
            )
        else:
            self._channel = grpc.insecure_channel(**self._channel_arguments())
        self._stub = GRPCInferenceServiceStub(self._channel)

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """See `Transport`."""
        request = self._infer_request(inputs, version)
        with self._translating(version, timeout):
            response = self._stub.ModelInfer(request, **self._call_arguments(timeout))
        return self._infer_result(response)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """See `Transport`."""
        if self._rest is not None:
            with self._learning():
                return self._rest.metadata(version=version, timeout=timeout)
        request = self._metadata_request(version)
        with self._translating(version, timeout):
            response = self._stub.ModelMetadata(request, **self._call_arguments(timeout))
        return self._model_metadata(response)

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()
        if self._rest is not None:
            self._rest.close()


class AsyncGrpcTransport(_Protocol):
    """The asynchronous twin of `GrpcTransport`; its channel belongs to one event loop."""

    def __init__(
        self, address: Address, model: str, security: Security, rest: AsyncTransport | None = None
    ) -> None:
        super().__init__(address, model, security)
        self._rest = rest
        self._channel: grpc.aio.Channel | None = None
        self._credentials = security.grpc_credentials() if address.is_secure else None

    @property
    def _stub(self) -> Any:
        # A channel takes the event loop that runs when it is made.
        if self._channel is None:
            if self._credentials is not None:
                self._channel = grpc.aio.secure_channel(
                    **self._channel_arguments(), credentials=self._credentials
                )
            else:
                self._channel = grpc.aio.insecure_channel(**self._channel_arguments())
            self._async_stub = GRPCInferenceServiceStub(self._channel)
        return self._async_stub

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """See `AsyncTransport`."""
        request = self._infer_request(inputs, version)
        with self._translating(version, timeout):
            response = await self._stub.ModelInfer(request, **self._call_arguments(timeout))
        return self._infer_result(response)

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """See `AsyncTransport`."""
        if self._rest is not None:
            with self._learning():
                return await self._rest.metadata(version=version, timeout=timeout)
        request = self._metadata_request(version)
        with self._translating(version, timeout):
            response = await self._stub.ModelMetadata(request, **self._call_arguments(timeout))
        return self._model_metadata(response)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        if self._channel is not None:
            await self._channel.close()
        if self._rest is not None:
            await self._rest.close()


def channel_arguments(address: Address) -> dict[str, Any]:
    """Give what `grpc.insecure_channel` and its kin take: a target and options."""
    round_robin = address.scheme == "dns"
    config = service_config(round_robin=round_robin)
    reconnect_ms = int(defaults.RECONNECT_SECONDS * 1000)
    return {
        "target": f"dns:///{address.location}" if round_robin else address.location,
        "options": (
            ("grpc.service_config", json.dumps(config)),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", defaults.RESPONSE_LIMIT_BYTES),
            ("grpc.keepalive_time_ms", int(defaults.KEEPALIVE_SECONDS * 1000)),
            ("grpc.keepalive_timeout_ms", int(defaults.KEEPALIVE_TIMEOUT_SECONDS * 1000)),
            ("grpc.min_reconnect_backoff_ms", int(defaults.BACKOFF_SECONDS * 1000)),
            ("grpc.initial_reconnect_backoff_ms", int(defaults.BACKOFF_SECONDS * 1000)),
            ("grpc.max_reconnect_backoff_ms", reconnect_ms),
        ),
    }


def _version_text(version: int | None) -> str:
    return "" if version is None else str(version)
