"""KServe v2 over REST, with the binary tensor extension."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from bertqa import _defaults
from bertqa.artifact import END_LOGITS, START_LOGITS
from bertqa.errors import (
    BertQAError,
    ProtocolError,
    ServerUnreachableError,
)
from bertqa.transport._address import Address
from bertqa.transport._contract import InferResult, Inputs, ModelMetadata
from bertqa.transport._error_mapping import ErrorMapper
from bertqa.transport._http import client_arguments, error_of_response, translated_errors
from bertqa.transport._retries import pauses
from bertqa.transport._security import Security
from bertqa.transport.codecs._tensors import check_output, output_array, version_number

JSON_LENGTH = "Inference-Header-Content-Length"

# What reading JSON of another form than expected may raise.
_MISREADINGS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Protocol:
    """What both transports do with requests and responses."""

    def __init__(self, address: Address, model: str, security: Security) -> None:
        self._address = address
        self._model = model
        self._met = False
        self._client_arguments: dict[str, Any] = {
            **client_arguments(address, security),
            "limits": httpx.Limits(max_connections=_defaults.REST_CONNECTIONS),
        }

    def _path(self, version: int | None, verb: str = "") -> str:
        versions = "" if version is None else f"/versions/{version}"
        return f"/v2/models/{quote(self._model, safe='')}{versions}{verb}"

    def _infer_request(self, inputs: Inputs, version: int | None) -> dict[str, Any]:
        contents = [np.ascontiguousarray(array, dtype="<i8").tobytes() for array in inputs.values()]
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": name,
                        "shape": list(array.shape),
                        "datatype": "INT64",
                        "parameters": {"binary_data_size": len(content)},
                    }
                    for (name, array), content in zip(inputs.items(), contents, strict=True)
                ],
                "outputs": [
                    {"name": name, "parameters": {"binary_data": True}}
                    for name in (START_LOGITS, END_LOGITS)
                ],
            }
        ).encode()
        return {
            "method": "POST",
            "url": self._path(version, "/infer"),
            "content": b"".join([head, *contents]),
            "headers": {
                "Content-Type": "application/octet-stream",
                JSON_LENGTH: str(len(head)),
            },
        }

    def _infer_result(self, body: bytes, headers: Mapping[str, str]) -> InferResult:
        """Read outputs, each binary or JSON: OVMS gives only the last one asked for as binary."""
        with self._reading():
            length = int(headers.get(JSON_LENGTH, len(body)))
            if not 0 <= length <= len(body):
                raise ValueError(f"{JSON_LENGTH} is {length}, but the body has {len(body)} bytes")
            response = json.loads(body[:length])
            rest = memoryview(body)[length:]
            outputs = {}
            for output in response["outputs"]:
                name, datatype, shape = output["name"], output["datatype"], output["shape"]
                size = output.get("parameters", {}).get("binary_data_size")
                if size is None:
                    check_output(name, datatype, shape)
                    array = np.array(output["data"], dtype=np.float32).reshape(shape)
                else:
                    array = output_array(name, datatype, shape, rest[:size])
                    rest = rest[size:]
                outputs[name] = array
            return InferResult(outputs, version_number(response["model_version"]))

    def _model_metadata(self, body: bytes) -> ModelMetadata:
        with self._reading():
            response = json.loads(body)
            model_info = response.get("rt_info", {}).get("model_info", {})
            return ModelMetadata(
                name=str(response["name"]),
                versions=tuple(version_number(text) for text in response["versions"]),
                inputs={each["name"]: each["datatype"] for each in response["inputs"]},
                outputs={each["name"]: each["datatype"] for each in response["outputs"]},
                rt_info={key: value for key, value in model_info.items() if isinstance(value, str)},
            )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn whatever goes wrong with a strange body into a ProtocolError."""
        try:
            yield
        except BertQAError:
            raise
        except _MISREADINGS as error:
            raise ProtocolError(
                f"{self._address} sent what KServe v2 does not allow "
                f"({type(error).__name__}: {error}): is another kind of server there?"
            ) from error

    def _check_size(self, size: int) -> None:
        if size > _defaults.RESPONSE_LIMIT_BYTES:
            raise ProtocolError(
                f"{self._address} sent more than {_defaults.RESPONSE_LIMIT_BYTES} bytes."
            )

    def _translating(self, mapper: ErrorMapper) -> AbstractContextManager[None]:
        return translated_errors(self._address, mapper)

    def _check_status(self, response: httpx.Response, body: bytes, mapper: ErrorMapper) -> None:
        if response.status_code == httpx.codes.OK:
            self._met = True
            return
        raise error_of_response(response.status_code, body, mapper)


class RestTransport(_Protocol):
    """Asks over pooled HTTP connections."""

    def __init__(self, address: Address, model: str, security: Security) -> None:
        super().__init__(address, model, security)
        self._client = httpx.Client(**self._client_arguments)

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """See `Transport`."""
        return self._infer_result(
            *self._request(self._infer_request(inputs, version), version, timeout)
        )

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """See `Transport`."""
        request = {"method": "GET", "url": self._path(version)}
        body, _ = self._request(request, version, timeout)
        return self._model_metadata(body)

    def close(self) -> None:
        """See `Transport`."""
        self._client.close()

    def _request(
        self, request: dict[str, Any], version: int | None, timeout: float
    ) -> tuple[bytes, Mapping[str, str]]:
        """Send, again where no one answers; give the body and headers of a good answer."""
        deadline = time.monotonic() + timeout
        mapper = ErrorMapper(str(self._address), self._model, version)
        waits = pauses(deadline, patient=self._met)
        while True:
            try:
                with self._translating(mapper):
                    return self._attempt(request, deadline, mapper)
            except ServerUnreachableError:
                pause = next(waits, None)
                if pause is None:
                    raise
                time.sleep(pause)

    def _attempt(
        self, request: dict[str, Any], deadline: float, mapper: ErrorMapper
    ) -> tuple[bytes, Mapping[str, str]]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        with self._client.stream(**request, timeout=left) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                self._check_size(len(body))
                # httpx's own timeout is for each read, not for all of them.
                if time.monotonic() > deadline:
                    raise TimeoutError
            self._check_status(response, bytes(body), mapper)
            return bytes(body), response.headers


class AsyncRestTransport(_Protocol):
    """The asynchronous twin of `RestTransport`."""

    def __init__(self, address: Address, model: str, security: Security) -> None:
        super().__init__(address, model, security)
        self._client = httpx.AsyncClient(**self._client_arguments)

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """See `AsyncTransport`."""
        return self._infer_result(
            *await self._request(self._infer_request(inputs, version), version, timeout)
        )

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """See `AsyncTransport`."""
        request = {"method": "GET", "url": self._path(version)}
        body, _ = await self._request(request, version, timeout)
        return self._model_metadata(body)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        await self._client.aclose()

    async def _request(
        self, request: dict[str, Any], version: int | None, timeout: float
    ) -> tuple[bytes, Mapping[str, str]]:
        """Send, again where no one answers; give the body and headers of a good answer."""
        deadline = time.monotonic() + timeout
        mapper = ErrorMapper(str(self._address), self._model, version)
        waits = pauses(deadline, patient=self._met)
        while True:
            try:
                with self._translating(mapper):
                    return await self._attempt(request, deadline, mapper)
            except ServerUnreachableError:
                pause = next(waits, None)
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def _attempt(
        self, request: dict[str, Any], deadline: float, mapper: ErrorMapper
    ) -> tuple[bytes, Mapping[str, str]]:
        left = deadline - time.monotonic()
        async with (
            asyncio.timeout(left),
            self._client.stream(**request, timeout=left) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                self._check_size(len(body))
            self._check_status(response, bytes(body), mapper)
            return bytes(body), response.headers
