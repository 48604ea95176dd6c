"""A local page that asks two versions one question and shows their answers side by side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bertqa.errors import BertQAError
from bertqa.evaluation import System, render_page, time_call
from bertqa.qa import Answer, cut_around, normalize
from bertqa_deploy.errors import DeployError
from bertqa_deploy.smoke import Smoke

LOOPBACK = "127.0.0.1"
LONGEST_BODY = 16 * 1024 * 1024
BODY_SECONDS = 30.0

# Everything comes from this page's own text: no script, style or picture from elsewhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def page(first: System, second: System, *, body_seconds: float = BODY_SECONDS) -> Starlette:
    """Return the page for two systems as an ASGI application.

    It answers only requests to the names of this machine.

    Args:
        first: The system on the left.
        second: The system on the right.
        body_seconds: How long the body of a request may take to arrive.
    """
    html = render_page(
        "page.html", "bertqa_deploy", first=first.name, second=second.name, smoke=Smoke()
    )

    async def show(_: Request) -> Response:
        return HTMLResponse(html, headers=_HEADERS)

    async def ask(request: Request) -> Response:
        try:
            question, context = await _read(request, body_seconds)
        except _RefusedError as error:
            # What is left of the body would be read as the next request.
            return JSONResponse({"error": str(error)}, error.status, {"Connection": "close"})
        # One after the other, so that neither slows the other's latency.
        results = [
            await asyncio.to_thread(_answer, system, question, context)
            for system in (first, second)
        ]
        return JSONResponse({"results": results, "verdict": _verdict(results)})

    return Starlette(
        routes=[Route("/", show), Route("/ask", ask, methods=["POST"])],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost", "[::1]"])
        ],
    )


def serve_page(
    first: System, second: System, port: int, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Serve the page on loopback until the process is interrupted.

    Both systems are asked a question before, so that the first latency shown is that of a question
    alone.

    Args:
        first: The system on the left.
        second: The system on the right.
        port: The port of the loopback interface to listen on.
        on_ready: Called when the page can be opened.

    Raises:
        DeployError: The port is taken.
        BertQAError: What the clients raise.
    """
    smoke = Smoke()
    for system in (first, second):
        system.client.answer(smoke.question, smoke.context, version=system.version)
    config = uvicorn.Config(page(first, second), host=LOOPBACK, port=port, log_level="critical")
    server = _Server(config, on_ready)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
    except SystemExit as error:
        raise DeployError(
            f"Port {port} on {LOOPBACK} cannot be used: another process listens there. "
            "Choose another one with --port."
        ) from error


class _Server(uvicorn.Server):
    """A server that reports when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


class _RefusedError(Exception):
    """The request cannot be answered; `status` is that of HTTP."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def _read(request: Request, seconds: float) -> tuple[str, str]:
    """Return the question and the context of a request."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise _RefusedError("The body has to be JSON.")
    received = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                received += chunk
                if len(received) > LONGEST_BODY:
                    raise _RefusedError(f"The body has more than {LONGEST_BODY:,} bytes.", 413)
    except TimeoutError as error:
        raise _RefusedError(f"The body did not arrive within {seconds:g} seconds.", 408) from error
    except ClientDisconnect as error:
        raise _RefusedError("The connection ended before the body did.") from error
    try:
        body = json.loads(received)
    except (ValueError, RecursionError) as error:
        raise _RefusedError("The body has to be JSON in UTF-8.") from error
    if not isinstance(body, dict):
        raise _RefusedError("The body has to be an object.")
    question, context = body.get("question"), body.get("context")
    if not isinstance(question, str) or not isinstance(context, str):
        raise _RefusedError("The body has to have a question and a context.")
    return question, context


def _answer(system: System, question: str, context: str) -> dict[str, Any]:
    answers: list[Answer] = []
    try:
        seconds = time_call(
            lambda: answers.append(system.client.answer(question, context, version=system.version))
        )
    except BertQAError as error:
        return {"error": str(error)}
    (answer,) = answers
    # The page gets the text cut up: JavaScript counts characters otherwise than Python.
    pieces = cut_around(context, [answer])
    return {
        "text": answer.text,
        "pieces": [[piece.text, piece.answer is not None] for piece in pieces],
        "score": answer.score,
        "milliseconds": 1000 * seconds,
        "model_version": answer.model_version,
    }


def _verdict(results: list[dict[str, Any]]) -> str:
    if any("error" in result for result in results):
        return "At least one of them could not answer."
    one, other = (normalize(result["text"]) for result in results)
    return "Both return the same answer." if one == other else "They return different answers."
