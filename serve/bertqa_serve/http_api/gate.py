"""What every request passes: its id, its right to ask, its body, a place, and a line in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bertqa.client import STAGES, continue_trace
from bertqa.errors import BertQAError
from bertqa.transport import CALL_HEADERS, is_loopback
from bertqa_serve.http_api.admission import Admission, Place
from bertqa_serve.http_api.bodies import Bodies, HungUpError
from bertqa_serve.http_api.metrics import Metrics
from bertqa_serve.http_api.options import ApiToken
from bertqa_serve.http_api.problems import UNAVAILABLE, Problem, error_response

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
STATE = "bertqa"
_HUNG_UP = 499
_ID = re.compile(r"[A-Za-z0-9_.:/=+@-]{1,128}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_JSON_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_METHODS = frozenset(("GET", "HEAD", "POST", "OPTIONS"))
# What needs no token beside the page: probes and metrics.
_OPEN = frozenset(("/health/live", "/health/ready", "/metrics"))


@dataclass(slots=True)
class RequestFacts:
    """What is known of a request, for its line in the log.

    Attributes:
        began: When its head was read, a time of `time.monotonic()`.
        request_id: Its id.
        model: The model that answers.
        version: The version that answered last.
        questions: How many questions it had.
        place: Its place among the requests that are answered or wait.
    """

    began: float
    request_id: str
    model: str | None = None
    version: int | None = None
    questions: int = 0
    place: Place | None = None


class Gate:
    """The outermost layer but for CORS, as an ASGI application.

    A request whose client hangs up is cancelled.

    Args:
        application: What answers.
        routes: Its endpoints, by which a request is counted that is refused before it gets there.
        metrics: What counts the requests.
        admission: The places.
        bodies: The limits of bodies.
        token: The bearer token that a request has to bring, or what returns the one of now.
        is_local: Whether only requests to names of this machine are answered, so that a page of
            another site cannot ask by a name that it controls.
    """

    def __init__(
        self,
        application: ASGIApp,
        routes: Sequence[Route],
        metrics: Metrics,
        admission: Admission,
        bodies: Bodies,
        token: ApiToken | None,
        *,
        is_local: bool,
    ) -> None:
        self._application = application
        self._routes = routes
        self._metrics = metrics
        self._admission = admission
        self._bodies = bodies
        self._token = token
        self._is_local = is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens; see ASGI."""
        if scope["type"] != "http":
            await self._application(scope, receive, _without_traceback(send))
            return
        headers = Headers(scope=scope)
        facts = RequestFacts(time.monotonic(), _id_of(headers))
        scope["state"][STATE] = facts
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = facts.request_id
            await send(message)

        CALL_HEADERS.set({REQUEST_ID: facts.request_id, **_trace_of(headers)})
        STAGES.set(self._metrics.stage)
        try:
            with continue_trace(headers):
                await self._admit(scope, headers, receive, send_with_id)
        except HungUpError:
            pass  # Nobody is there to be answered.
        except Problem as problem:
            await error_response(problem)(scope, receive, send_with_id)
        except asyncio.CancelledError:  # The time in which it may end is over.
            if not status:
                await error_response(ending())(scope, receive, send_with_id)
        except Exception as error:
            # Its message may quote a text: what is logged is where it was raised.
            logger.error("request %s failed: %s", facts.request_id, _place_of(error))
            if not status:
                await error_response(failure(facts))(scope, receive, send_with_id)
        finally:
            status = status or _HUNG_UP
            seconds = time.monotonic() - facts.began
            endpoint = self._endpoint_of(scope)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.request(endpoint, method, status, seconds)
            _log(facts, endpoint, method, status, seconds)

    def _endpoint_of(self, scope: Scope) -> str:
        route = scope.get("route") or next(routes_at(self._routes, scope), None)
        return getattr(route, "path_format", "other")

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        if self._is_local and not is_loopback(_host_of(headers)):
            raise Problem(421, "This service answers only requests to names of this machine.")
        self._authorize(scope, headers)
        if scope["method"] != "POST":
            await self._application(scope, receive, send)
            return
        if not _JSON_TYPE.fullmatch(headers.get("content-type", "")):
            raise Problem(
                415, "The body has to be JSON: send the header Content-Type: application/json."
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "The body has to come as it is, without a Content-Encoding.")
        with self._bodies.counting() as body:
            begin = time.monotonic()
            await self._bodies.read(body, receive, headers.get("content-length"))
            self._metrics.read(time.monotonic() - begin)
            with self._admission.place() as place:
                scope["state"][STATE].place = place
                self._metrics.waits(1)
                try:
                    await self._answer(scope, bytes(body), receive, send)
                finally:
                    self._metrics.waits(-1)

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Answer, unless the client hangs up before."""
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        loop = asyncio.get_running_loop()
        hung_up = loop.create_task(_until_hung_up(receive))

        async def receive_again() -> Message:
            if messages:
                return messages.pop()
            await asyncio.shield(hung_up)
            return {"type": "http.disconnect"}

        limit = asyncio.timeout(None)

        def expire(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # The answer is there.
                limit.reschedule(loop.time())

        try:
            async with limit:
                hung_up.add_done_callback(expire)
                await self._application(scope, receive_again, send)
        except TimeoutError:
            if not limit.expired():
                raise
            raise HungUpError from None
        finally:
            hung_up.cancel()

    def _authorize(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        if self._token is None or path in _OPEN or (path == "/" and scope["method"] != "POST"):
            return
        try:
            expected = self._token if isinstance(self._token, str) else self._token()
        except BertQAError as error:
            logger.error("no request can be authorized: %s", error)
            raise Problem(
                UNAVAILABLE,
                "The token that requests have to bring cannot be read; the service's log says why.",
                retry_after=1,
            ) from error
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            reason = "A bearer token is required: send the header Authorization: Bearer TOKEN."
        elif not secrets.compare_digest(given.strip().encode(), expected.encode()):
            reason = "The bearer token is not the one of this service."
        else:
            return
        raise Problem(401, reason, headers={"www-authenticate": "Bearer"})


def routes_at(routes: Sequence[Route], scope: Scope) -> Iterator[Route]:
    """Yield the endpoints at the address of a request, whatever its method.

    Args:
        routes: All endpoints.
        scope: The request; see ASGI.
    """
    return (each for each in routes if each.matches(scope)[0] is not Match.NONE)


def failure(facts: RequestFacts) -> Problem:
    """Return the response to a request that failed unexpectedly.

    Args:
        facts: What is known of it.
    """
    return Problem(500, f"The service failed; its log has more under {facts.request_id}.")


def ending() -> Problem:
    """Return the response to a request that is not answered when the service has to end."""
    return Problem(UNAVAILABLE, "The service is being stopped: ask again.", retry_after=1)


def _without_traceback(send: Send) -> Send:
    """Return what sends only the last line of why the application does not start or end."""

    async def send_last_line(message: Message) -> None:
        if message["type"].endswith(".failed"):
            message = {**message, "message": message.get("message", "").strip().split("\n")[-1]}
        await send(message)

    return send_last_line


def _place_of(error: Exception) -> str:
    """Return the kind of an error, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__qualname__}{place}"


async def _until_hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _id_of(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)


def _host_of(headers: Headers) -> str:
    host = headers.get("host", "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _trace_of(headers: Headers) -> Mapping[str, str]:
    """Return the headers of W3C's trace context, where they can be passed on."""
    parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
    if not _TRACE_PARENT.fullmatch(parent):
        return {}
    has_state = _TRACE_STATE.fullmatch(state) is not None
    return {"traceparent": parent, **({"tracestate": state} if has_state else {})}


def _log(facts: RequestFacts, endpoint: str, method: str, status: int, seconds: float) -> None:
    logger.info(
        "request",
        extra={
            "fields": {
                "method": method,
                "endpoint": endpoint,
                "status": status,
                "milliseconds": round(1000 * seconds, 3),
                "request_id": facts.request_id,
                "trace_id": CALL_HEADERS.get().get("traceparent", "--").split("-")[1] or None,
                "questions": facts.questions,
                "model": facts.model,
                "version": facts.version,
            }
        },
    )
