"""Calling a model over a gRPC channel."""

from __future__ import annotations

import time
from typing import Any

from bertqa.errors import CertificateError, ServerUnreachableError
from bertqa.transport._address import Address
from bertqa.transport._async.rest import AsyncRestTransport
from bertqa.transport._certificates import async_raise_explained, is_explained
from bertqa.transport._contract import InferResult, Inputs, ModelMetadata
from bertqa.transport._grpc import AsyncChannel, ChannelOptions, GrpcConnection
from bertqa.transport._pausing import async_pause
from bertqa.transport._security import Security
from bertqa.transport.codecs import Codec


class AsyncGrpcTransport(GrpcConnection):
    """Implements `AsyncTransport` over one channel.

    Args:
        address: A gRPC address.
        model: The model's name.
        security: TLS files and headers.
        codec: The protocol that is spoken.
        rest: The transport that describes the model: OVMS sends `rt_info` over REST alone. None
            leaves it to the gRPC server, which describes inputs and outputs.
        channel_options: Options of the channel that the user sets.
        repeats: Whether to repeat calls that reach no server.

    Raises:
        InvalidOptionError: A TLS file or a proxy cannot be used.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        security: Security,
        codec: Codec,
        rest: AsyncRestTransport | None = None,
        channel_options: ChannelOptions = (),
        *,
        repeats: bool = True,
    ) -> None:
        super().__init__(address, model, security, channel_options, repeats=repeats)
        self._codec = codec
        self._rest = rest
        self._channel = self._open_channel()

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model; see `AsyncTransport`."""
        deadline = time.monotonic() + timeout
        if version is None and not self._codec.names_version:
            default = await self._describe(None, timeout)
            (version,) = default.versions
        request = self._codec.infer_request(inputs, version)
        response = await self._call(self._channel.infer, request, version, deadline)
        return self._codec.infer_result(response, version)

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model; see `AsyncTransport`."""
        if self._rest is not None:
            with self._explaining_rest(self._rest.address):
                return await self._rest.metadata(version=version, timeout=timeout)
        return await self._describe(version, timeout)

    async def is_live(self, timeout: float) -> bool:
        """Return whether the server answers; see `AsyncProbedTransport`."""
        return await self._channel.can_connect(timeout)

    async def renew(self) -> None:
        """Have the next call over a new connection; see `AsyncProbedTransport`."""
        await self._channel.close()
        self._channel = self._open_channel(new=True)

    async def close(self) -> None:
        """Close the channel; see `AsyncTransport`."""
        await self._channel.close()
        if self._rest is not None:
            await self._rest.close()

    def _open_channel(self, *, new: bool = False) -> AsyncChannel:
        return AsyncChannel(self._arguments, self._credentials, self._codec, new=new)

    async def _describe(self, version: int | None, timeout: float) -> ModelMetadata:
        deadline = time.monotonic() + timeout
        request = self._codec.metadata_request(version)
        response = await self._call(self._channel.metadata, request, version, deadline)
        return self._codec.model_metadata(response)

    async def _call(self, call: Any, request: Any, version: int | None, deadline: float) -> Any:
        """Return the response to a request; repeat it where no server answers."""
        waits = self._waits(deadline)
        is_first = not self._met
        while True:
            try:
                with self._mapping_errors(version):
                    headers = await self._security.async_headers(deadline - time.monotonic())
                    calling = call(request, **self._call_arguments(deadline, headers))
                    return self._check_message(await calling)
            except ServerUnreachableError as error:
                pause = None if isinstance(error, CertificateError) else next(waits, None)
                is_worth = is_explained(self._address, is_first=is_first, is_last=pause is None)
                if is_worth and self._may_be_explained():
                    await async_raise_explained(error, self._address, self._security, deadline)
                if pause is None:
                    raise
                is_first = False
            await async_pause(pause)
