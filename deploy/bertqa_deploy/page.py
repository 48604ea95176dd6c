"""A local page that puts one question to both versions and shows their answers side by side."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bertqa.errors import BertQAError
from bertqa.evaluation import System, render_page
from bertqa.qa import normalize
from bertqa_deploy.errors import DeployError
from bertqa_deploy.smoke import Smoke

LOOPBACK = "127.0.0.1"
LONGEST_BODY = 16 * 1024 * 1024

# Everything comes from this page's own text: no script, style or picture from elsewhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def page(first: System, second: System) -> Starlette:
    """Return the page as an application; it answers only to names of this machine."""
    html = render_page(
        "page.html", "bertqa_deploy", first=first.name, second=second.name, smoke=Smoke()
    )

    async def show(_: Request) -> Response:
        return HTMLResponse(html, headers=_HEADERS)

    async def ask(request: Request) -> Response:
        try:
            question, context = await _asked(request)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        # One after the other, so that neither slows the other's latency.
        results = [
            await asyncio.to_thread(_answer, side, question, context) for side in (first, second)
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

    Both sides are met before, so that the first latency shown is that of a question. Raises
    DeployError where the port is taken, and what the clients raise.
    """
    smoke = Smoke()
    for side in (first, second):
        side.client.answer(smoke.question, smoke.context, version=side.version)
    config = uvicorn.Config(page(first, second), host=LOOPBACK, port=port, log_level="critical")
    server = _Server(config, on_ready)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
    except SystemExit as error:
        raise DeployError(
            f"Port {port} on {LOOPBACK} cannot be used: another process listens there. "
            "Give another with --port."
        ) from error


class _Server(uvicorn.Server):
    """A server that tells when it listens."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


async def _asked(request: Request) -> tuple[str, str]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise ValueError("The body has to be JSON.")
    if int(request.headers.get("content-length", "0")) > LONGEST_BODY:
        raise ValueError("The text is too long for this page.")
    body = await request.json()
    if not isinstance(body, dict):
        raise ValueError("The body has to be an object.")
    question, context = body.get("question"), body.get("context")
    if not isinstance(question, str) or not isinstance(context, str):
        raise ValueError("The body has to have a question and a context.")
    return question, context


def _answer(side: System, question: str, context: str) -> dict[str, Any]:
    begun = time.perf_counter()
    try:
        answer = side.client.answer(question, context, version=side.version)
    except BertQAError as error:
        return {"error": str(error)}
    # The page gets the text cut up: JavaScript counts characters otherwise than Python.
    return {
        "text": answer.text,
        "before": context[: answer.start],
        "after": context[answer.end :],
        "score": answer.score,
        "milliseconds": 1000 * (time.perf_counter() - begun),
        "model_version": answer.model_version,
    }


def _verdict(results: list[dict[str, Any]]) -> str:
    if any("error" in result for result in results):
        return "Not both could answer."
    one, other = (normalize(result["text"]) for result in results)
    return "Both give the same answer." if one == other else "They give different answers."
