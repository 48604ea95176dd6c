"""Calling a model over pooled HTTP connections."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx

from bertqa.errors import (
    CertificateError,
    ModelNotFoundError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport._address import Address
from bertqa.transport._certificates import async_raise_explained, is_explained
from bertqa.transport._contract import InferResult, Inputs, ModelMetadata
from bertqa.transport._error_mapping import ErrorMapper
from bertqa.transport._pausing import async_pause
from bertqa.transport._rest import AsyncSockets, RestConnection, async_time_limit
from bertqa.transport._security import Security
from bertqa.transport.codecs import LIVE_PATH, READY_PATH, RestRequest


class AsyncRestTransport(RestConnection):
    """Implements `AsyncTransport` over KServe v2's REST API.

    Args:
        address: An HTTP address.
        model: The model's name.
        security: TLS files and headers.
        http_client: A client of the user's to call with, which stays open; None opens one.
        repeats: Whether to repeat calls that reach no server.

    Raises:
        InvalidOptionError: A TLS file or a proxy cannot be used.
    """

    def __init__(
        self,
        address: Address,
        model: str,
        security: Security,
        http_client: httpx.AsyncClient | None = None,
        *,
        repeats: bool = True,
    ) -> None:
        super().__init__(
            address, model, security, repeats=repeats, is_own_client=http_client is None
        )
        self._client = http_client or httpx.AsyncClient(**self._client_arguments)
        self._sockets = AsyncSockets(self._client if self._is_own_client else None)
        self._call_extensions = dict(self._extensions)
        if self._is_own_client:
            self._call_extensions |= self._sockets.extensions

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model; see `AsyncTransport`."""
        request = self._codec.infer_request(inputs, version)
        body, headers = await self._call(request, version, timeout)
        with self._reading(version):
            return self._codec.infer_result(body, headers)

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model; see `AsyncTransport`."""
        request = self._codec.metadata_request(version)
        body, _ = await self._call(request, version, timeout)
        with self._reading(version):
            return self._codec.model_metadata(body)

    async def is_live(self, timeout: float) -> bool:
        """Return whether the server answers; see `AsyncProbedTransport`."""
        client = httpx.AsyncClient(**{**self._client_arguments, "timeout": timeout})
        try:
            async with async_time_limit(timeout), client:
                # An answer that refuses the call is one too: the probe needs no token.
                await client.get(
                    self._url(LIVE_PATH),
                    headers={**self._security.headers, **self._name_headers},
                    extensions=self._extensions,
                )
        except (httpx.HTTPError, TimeoutError):
            return False
        return True

    async def renew(self) -> None:
        """Do nothing: a connection on which something was not found is closed already."""

    async def close(self) -> None:
        """Close the connections; see `AsyncTransport`."""
        if self._is_own_client:
            async with self._sockets.shut_down():
                await self._client.aclose()

    async def _call(
        self, request: RestRequest, version: int | None, timeout: float
    ) -> tuple[bytes, Mapping[str, str]]:
        """Return the body and the headers of a good response; repeat where no server answers."""
        deadline = time.monotonic() + timeout
        mapper = self._mapper(version)
        waits = self._waits(deadline)
        is_first = not self._met
        while True:
            try:
                with self._mapping_errors(mapper):
                    return await self._attempt(request, deadline, mapper)
            except ServerUnreachableError as error:
                pause = None if isinstance(error, CertificateError) else next(waits, None)
                is_worth = is_explained(self._address, is_first=is_first, is_last=pause is None)
                if is_worth and self._may_be_explained():
                    await async_raise_explained(error, self._address, self._security, deadline)
                if pause is None:
                    raise
                is_first = False
            except (ModelNotFoundError, VersionNotFoundError) as error:
                if await self._is_starting(deadline):
                    raise mapper.starting(error.detail) from error
                raise
            await async_pause(pause)

    async def _is_starting(self, deadline: float) -> bool:
        """Return whether the server is in its first load: OVMS knows no model or version then."""
        left = max(deadline - time.monotonic(), 0.1)
        try:
            async with async_time_limit(left):
                ready = await self._client.get(
                    self._url(READY_PATH),
                    headers={**await self._security.async_headers(left), **self._name_headers},
                    timeout=left,
                    extensions=self._call_extensions,
                )
        except (httpx.HTTPError, RuntimeError, TimeoutError):
            return False
        return ready.status_code == httpx.codes.SERVICE_UNAVAILABLE

    async def _headers(self, request: RestRequest, timeout: float) -> dict[str, str]:
        ours = {**self._name_headers, **request.headers}
        return {**await self._security.async_headers(timeout), **ours}

    async def _attempt(
        self, request: RestRequest, deadline: float, mapper: ErrorMapper
    ) -> tuple[bytes, Mapping[str, str]]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        headers = await self._headers(request, left)
        left = deadline - time.monotonic()
        call = self._client.stream(
            request.method,
            self._url(request.path),
            headers=headers,
            content=request.body,
            timeout=left,
            extensions=self._call_extensions,
        )
        async with self._sockets.time_limit(left), call as response:
            self._sockets.met(response)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                self._check_size(len(body))
                # httpx's own timeout is for each read, not for all of them.
                if time.monotonic() > deadline:
                    raise TimeoutError
                if self._is_left(response):
                    break
            self._check_status(response, bytes(body), mapper)
            return bytes(body), response.headers
