"""KServe v2 over REST, and OVMS's other endpoints there."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import rapidjson
from grpc import StatusCode
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bertqa_serve.engine.limits import Limits, RestWorkers
from bertqa_serve.engine.manager import VERSION_NOT_LOADED
from bertqa_serve.engine.request_error import RequestError, internal, invalid, not_found
from bertqa_serve.engine.rest_tensors import (
    HEADER_LENGTH,
    InferBody,
    read_infer_body,
    spec_to_json,
    write_infer_answer,
)
from bertqa_serve.engine.service import SERVER_NAME, Service, Tensor

logger = logging.getLogger("bertqa_serve")

BODY_SECONDS = 60.0
_GZIP_FROM_BYTES = 1024
_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_EVERY_ANSWER = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "*",
    "Access-Control-Allow-Headers": "*",
}
_STATUS = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.NOT_FOUND: 404,
    StatusCode.UNAVAILABLE: 404,
    StatusCode.DEADLINE_EXCEEDED: 408,
    StatusCode.FAILED_PRECONDITION: 412,
    StatusCode.RESOURCE_EXHAUSTED: 413,
    StatusCode.UNIMPLEMENTED: 500,
    StatusCode.INTERNAL: 500,
}
_MODEL = r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<number>[0-9]+))?"

Handler = Callable[["_Request", Mapping[str, Any]], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Request:
    headers: Mapping[str, str]
    body: bytes


class KServeRest:
    """The REST endpoints as one ASGI application."""

    def __init__(self, service: Service, version: str, limits: Limits) -> None:
        self._service = service
        self._version = version
        self._max_bytes = limits.message_bytes
        self._workers = RestWorkers(limits.rest_workers)
        self._routes: list[tuple[re.Pattern[str], str, Handler]] = [
            (re.compile(pattern), method, handler)
            for pattern, method, handler in (
                ("/v2", "GET", self._server_metadata),
                ("/v2/health/live", "GET", self._live),
                ("/v2/health/ready", "GET", self._ready),
                (_MODEL + "/ready", "GET", self._model_ready),
                (_MODEL + "/infer", "POST", self._model_infer),
                (_MODEL + "/?", "GET", self._model_metadata),
                ("/v1/config", "GET", self._status),
                ("/v1/config/reload", "POST", self._reload),
                ("/metrics", "GET", self._metrics),
            )
        ]

    def application(self) -> ASGIApp:
        """Return the application, which compresses long answers for clients that accept it."""
        return GZipMiddleware(self._serve, minimum_size=_GZIP_FROM_BYTES, compresslevel=1)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await self._body(request)
            async with self._workers.of(scope["client"]):
                response = await self._answer(request, body)
        except RequestError as error:
            response = _refusal(error)
        except ClientDisconnect:
            return
        except Exception:
            logger.exception("A request over REST failed")
            response = _refusal(internal())
        response.headers.update(_EVERY_ANSWER)
        await response(scope, receive, send)

    async def _answer(self, request: Request, body: bytes) -> Response:
        # As it was sent: a slash that is encoded is of a model's name.
        path, method = request.scope["raw_path"].decode("latin-1"), request.method
        matches = [
            (match, wanted, handler)
            for pattern, wanted, handler in self._routes
            if (match := pattern.fullmatch(path))
        ]
        if not matches:
            raise invalid("Invalid request URL")
        if method == "OPTIONS":
            return _ok()
        match, wanted, handler = matches[0]
        if method != wanted and (method, wanted) != ("HEAD", "GET"):
            return _error(406, "Unsupported method")
        found = match.groupdict()
        if "name" in found:
            found["name"] = unquote(found["name"])
        if found.get("number"):
            found["number"] = int(found["number"])
        return await handler(_Request(request.headers, body), found)

    async def _body(self, request: Request) -> bytes:
        """Read a request's body. Raises RequestError if it is too large or does not arrive."""
        too_large = RequestError(StatusCode.RESOURCE_EXHAUSTED, "")
        if int(request.headers.get("Content-Length", 0)) > self._max_bytes:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise too_large
        except TimeoutError as error:
            text = f"Request body did not come within {BODY_SECONDS:.0f} seconds"
            raise RequestError(StatusCode.DEADLINE_EXCEEDED, text) from error
        return bytes(body)

    async def _server_metadata(self, _: _Request, __: Mapping[str, Any]) -> Response:
        return _ok({"name": SERVER_NAME, "version": self._version})

    async def _live(self, _: _Request, __: Mapping[str, Any]) -> Response:
        if not self._service.started:
            raise internal()
        return _ok()

    async def _ready(self, _: _Request, __: Mapping[str, Any]) -> Response:
        return _ok() if self._service.manager.ready else _error(503, "Server is not ready")

    async def _model_ready(self, _: _Request, found: Mapping[str, Any]) -> Response:
        if not self._service.model_ready("REST", **found):
            raise not_found(VERSION_NOT_LOADED)
        return _ok()

    async def _model_metadata(self, _: _Request, found: Mapping[str, Any]) -> Response:
        described = self._service.describe("REST", **found)
        content: dict[str, Any] = {
            "name": described.name,
            "versions": list(map(str, described.versions)),
            "platform": "OpenVINO",
            "inputs": list(map(spec_to_json, described.inputs)),
            "outputs": list(map(spec_to_json, described.outputs)),
        }
        if described.rt_info:
            content["rt_info"] = {"model_info": described.rt_info}
        return _ok(content)

    async def _model_infer(self, request: _Request, found: Mapping[str, Any]) -> Response:
        header_length = request.headers.get(HEADER_LENGTH)
        parsed: list[InferBody] = []

        def read() -> list[Tensor]:
            parsed.append(read_infer_body(request.body, header_length))
            return parsed[0].tensors

        answer = await self._service.infer("REST", read=read, **found)
        content, json_size = write_infer_answer(found["name"], parsed[0], answer)
        headers = {HEADER_LENGTH: str(json_size)} if json_size is not None else None
        return Response(content, media_type=_JSON, headers=headers)

    async def _status(self, _: _Request, __: Mapping[str, Any]) -> Response:
        return _ok(self._service.manager.status())

    async def _reload(self, _: _Request, __: Mapping[str, Any]) -> Response:
        if self._service.started:
            await self._service.manager.reload()
        return _ok(self._service.manager.status())

    async def _metrics(self, _: _Request, __: Mapping[str, Any]) -> Response:
        metrics = self._service.metrics
        if not (metrics.enabled and self._service.started):
            return _error(400, "Invalid request URL", media_type=_TEXT)
        return Response(metrics.text(), media_type=_TEXT)


def _ok(content: object = None) -> Response:
    return Response(b"" if content is None else rapidjson.dumps(content), media_type=_JSON)


def _refusal(error: RequestError) -> Response:
    status = _STATUS[error.code]
    return _error(status, error.text) if error.text else Response(status_code=status)


def _error(status: int, text: str, media_type: str = _JSON) -> Response:
    return Response(rapidjson.dumps({"error": text}), status, media_type=media_type)
