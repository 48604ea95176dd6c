"""Responses: JSON, lines of it, and errors in the form of Hugging Face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bertqa_serve.http_api.asking import MODEL_VERSION
from bertqa_serve.http_api.encoding import json_line
from bertqa_serve.http_api.gate import STATE, ending, failure, routes_at
from bertqa_serve.http_api.problems import Problem, error_response, sentences

NDJSON = "application/x-ndjson"
_WORDS = {
    400: "The body is not valid JSON.",
    404: "There is nothing at this address.",
}


class Lines(Response):
    """Results as lines, each sent when it is there.

    Args:
        first: The first result, None for an empty list.
        rest: The others.
    """

    media_type = NDJSON

    def __init__(self, first: BaseModel | None, rest: AsyncIterator[BaseModel]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._first, self._rest = first, rest

    @classmethod
    async def begun(cls, lines: AsyncIterator[BaseModel]) -> Lines:
        """Return a response once its first result is there, so that a failure has its status.

        Args:
            lines: The results.
        """
        return cls(await anext(lines, None), lines)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines; what fails on the way is the last one, with its status; see ASGI."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        line: BaseModel | None = self._first
        while line is not None:
            await _send_line(send, line.model_dump())
            try:
                line = await anext(self._rest, None)
            except (Problem, asyncio.CancelledError) as error:
                problem = error if isinstance(error, Problem) else ending()
                await _send_line(send, {**problem.body, "status": problem.status})
                break
        await send({"type": "http.response.body", "body": b""})


async def _send_line(send: Send, line: dict[str, Any]) -> None:
    await send({"type": "http.response.body", "body": json_line(line), "more_body": True})


def json_response(
    value: Any, versions: Iterable[int] = (), media_type: str | None = None
) -> Response:
    """Return a response.

    Args:
        value: The body; bytes are JSON already.
        versions: The versions that answered.
        media_type: Another type than that of JSON.
    """
    content = value.model_dump() if isinstance(value, BaseModel) else value
    encoded = content if isinstance(content, bytes) else json_line(content)
    headers = {MODEL_VERSION: ",".join(map(str, sorted(versions)))} if versions else None
    return Response(encoded, headers=headers, media_type=media_type or "application/json")


async def problem_response(_: Request, problem: Exception) -> Response:
    """Return the response for a problem; see `FastAPI.exception_handler`."""
    assert isinstance(problem, Problem)
    return error_response(problem)


async def invalid_response(_: Request, error: Exception) -> Response:
    """Return the response for fields that are wrong; see `FastAPI.exception_handler`."""
    assert isinstance(error, RequestValidationError)
    return error_response(Problem(422, sentences(error.errors())))


async def refused_response(request: Request, error: Exception) -> Response:
    """Return the response for a request that fits no endpoint; see `FastAPI.exception_handler`."""
    assert isinstance(error, HTTPException)
    message = _WORDS.get(error.status_code, f"{error.detail}.")
    headers = error.headers
    if error.status_code == 405:
        here = routes_at(request.app.state.endpoints, request.scope)
        methods = sorted({each for route in here for each in route.methods or ()})
        message = f"{request.method} is not allowed here, but {' and '.join(methods)}."
        headers = {"allow": ", ".join(methods)}
    # FastAPI's status for what Python cannot read, such as JSON that is nested too deep.
    status = 422 if error.status_code == 400 else error.status_code
    return error_response(Problem(status, message, headers=headers))


async def failure_response(request: Request, _: Exception) -> Response:
    """Return the response for what was not expected; see `FastAPI.exception_handler`."""
    return error_response(failure(request.scope["state"][STATE]))
