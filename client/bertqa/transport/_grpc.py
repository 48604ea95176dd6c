"""Asking over a gRPC channel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import grpc

from bertqa import _defaults
from bertqa.errors import (
    ClientStateError,
    DeadlineExceededError,
    ProtocolError,
    ServerUnreachableError,
)
from bertqa.transport._address import Address
from bertqa.transport._contract import AsyncTransport, InferResult, Inputs, ModelMetadata, Transport
from bertqa.transport._error_mapping import ErrorMapper
from bertqa.transport._retries import service_config
from bertqa.transport._security import Security
from bertqa.transport.codecs._codec import Codec


class _Connection:
    """What both transports know of the connection, and how they read its failures."""

    def __init__(self, address: Address, model: str, security: Security) -> None:
        self._address = address
        self._model = model
        self._headers = tuple(security.headers.items())
        self._credentials = security.grpc_credentials() if address.is_secure else None
        # Once met, a server that goes away is waited for; one that was never there is not.
        self._met = False

    def _call_arguments(self, deadline: float) -> dict[str, Any]:
        return {
            "timeout": deadline - time.monotonic(),
            "metadata": self._headers,
            "wait_for_ready": self._met or None,
        }

    @contextlib.contextmanager
    def _calling(self, version: int | None) -> Iterator[None]:
        """Turn the failure of a call into an error of ours."""
        try:
            yield
        except grpc.RpcError as error:
            mapper = ErrorMapper(str(self._address), self._model, version)
            code, detail = error.code().name, error.details() or ""
            if code == "DEADLINE_EXCEEDED" and "connect" in detail.lower():
                raise mapper.unreachable(detail) from error
            raise mapper.error(code, detail) from error
        except (ValueError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            # grpc.aio cancels who waits for a call when its channel is closed.
            task = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
            if task is not None and task.cancelling():
                raise
            raise ClientStateError(f"The connection to {self._address} is closed.") from error
        self._met = True

    def _there(self, response: Any) -> Any:
        """Refuse the None that grpc.aio gives, without an error, for bytes that are no message."""
        if response is None:
            raise ProtocolError(f"{self._address} sent bytes that are no message of the protocol.")
        return response

    @contextlib.contextmanager
    def _learning(self) -> Iterator[None]:
        """Say why REST is mapper at all, where that fails."""
        try:
            yield
        except (ServerUnreachableError, DeadlineExceededError, ProtocolError) as error:
            raise type(error)(
                f"{error} (The model behind {self._address} says over REST which tokenizer it "
                "takes. Where its REST address is another one, pass metadata_url=; where there is "
                "none, pass tokenizer=.)",
                detail=error.detail,
            ) from error


class GrpcTransport(_Connection):
    """Asks over one channel, from any thread.

    OVMS gives a model's `rt_info` over REST alone: `metadata` asks `rest` where it is given.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        security: Security,
        codec: Codec,
        rest: Transport | None = None,
    ) -> None:
        super().__init__(address, model, security)
        self._codec = codec
        self._rest = rest
        if self._credentials is None:
            self._channel = grpc.insecure_channel(**channel_arguments(address))
        else:
            self._channel = grpc.secure_channel(
                **channel_arguments(address), credentials=self._credentials
            )
        self._infer, self._metadata = _calls(self._channel, codec)

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """See `Transport`."""
        deadline = time.monotonic() + timeout
        if version is None and not self._codec.names_version:
            (version,) = self._describe(None, timeout).versions
        request = self._codec.infer_request(inputs, version)
        with self._calling(version):
            response = self._infer(request, **self._call_arguments(deadline))
        return self._codec.infer_result(response, version)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """See `Transport`."""
        if self._rest is not None:
            with self._learning():
                return self._rest.metadata(version=version, timeout=timeout)
        return self._describe(version, timeout)

    def _describe(self, version: int | None, timeout: float) -> ModelMetadata:
        deadline = time.monotonic() + timeout
        request = self._codec.metadata_request(version)
        with self._calling(version):
            response = self._metadata(request, **self._call_arguments(deadline))
        return self._codec.model_metadata(response)

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()
        if self._rest is not None:
            self._rest.close()


class AsyncGrpcTransport(_Connection):
    """The asynchronous twin of `GrpcTransport`; its channel belongs to one event loop."""

    def __init__(
        self,
        address: Address,
        model: str,
        security: Security,
        codec: Codec,
        rest: AsyncTransport | None = None,
    ) -> None:
        super().__init__(address, model, security)
        self._codec = codec
        self._rest = rest
        self._opened: tuple[Any, Any, Any] | None = None

    def _open(self) -> tuple[Any, Any, Any]:
        """Return the channel and its calls; a channel takes the loop that runs when it is made."""
        if self._opened is None:
            if self._credentials is None:
                channel = grpc.aio.insecure_channel(**channel_arguments(self._address))
            else:
                channel = grpc.aio.secure_channel(
                    **channel_arguments(self._address), credentials=self._credentials
                )
            self._opened = channel, *_calls(channel, self._codec)
        return self._opened

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """See `AsyncTransport`."""
        deadline = time.monotonic() + timeout
        if version is None and not self._codec.names_version:
            (version,) = (await self._describe(None, timeout)).versions
        _, infer, _ = self._open()
        request = self._codec.infer_request(inputs, version)
        with self._calling(version):
            response = self._there(await infer(request, **self._call_arguments(deadline)))
        return self._codec.infer_result(response, version)

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """See `AsyncTransport`."""
        if self._rest is not None:
            with self._learning():
                return await self._rest.metadata(version=version, timeout=timeout)
        return await self._describe(version, timeout)

    async def _describe(self, version: int | None, timeout: float) -> ModelMetadata:
        deadline = time.monotonic() + timeout
        _, _, metadata = self._open()
        request = self._codec.metadata_request(version)
        with self._calling(version):
            response = self._there(await metadata(request, **self._call_arguments(deadline)))
        return self._codec.model_metadata(response)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        if self._opened is not None:
            await self._opened[0].close()
        if self._rest is not None:
            await self._rest.close()


def _calls(channel: Any, codec: Codec) -> tuple[Any, Any]:
    """Return what calls the two methods over a channel, of either kind."""
    return (
        channel.unary_unary(
            codec.infer_method,
            request_serializer=_serialize,
            response_deserializer=codec.infer_response.FromString,
        ),
        channel.unary_unary(
            codec.metadata_method,
            request_serializer=_serialize,
            response_deserializer=codec.metadata_response.FromString,
        ),
    )


def _serialize(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized


def channel_arguments(address: Address) -> dict[str, Any]:
    """Return what `grpc.insecure_channel` and its kin take: a target and options."""
    round_robin = address.scheme == "dns"
    reconnect_ms = int(_defaults.RECONNECT_SECONDS * 1000)
    return {
        "target": f"dns:///{address.location}" if round_robin else address.location,
        "options": (
            ("grpc.service_config", json.dumps(service_config(round_robin=round_robin))),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", _defaults.RESPONSE_LIMIT_BYTES),
            ("grpc.keepalive_time_ms", int(_defaults.KEEPALIVE_SECONDS * 1000)),
            ("grpc.keepalive_timeout_ms", int(_defaults.KEEPALIVE_TIMEOUT_SECONDS * 1000)),
            ("grpc.min_reconnect_backoff_ms", int(_defaults.BACKOFF_SECONDS * 1000)),
            ("grpc.initial_reconnect_backoff_ms", int(_defaults.BACKOFF_SECONDS * 1000)),
            ("grpc.max_reconnect_backoff_ms", reconnect_ms),
        ),
    }
