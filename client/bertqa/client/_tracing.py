"""OpenTelemetry spans, where the user has its API installed, and the headers of single calls.

Spans hold no question, context or answer, and no message of an error, which may quote them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from bertqa.errors import BertQAError, InvalidOptionError
from bertqa.transport import CALL_HEADERS, NO_HEADERS, Security

Attributes = Mapping[str, str | int]

_NAME = "bertqa"
_ERROR_TYPE = "error.type"

OnStage = Callable[[str, float, Mapping[str, int]], None]
"""Called with the name of a stage, the seconds that it took, and its attributes."""

STAGES: ContextVar[OnStage | None] = ContextVar("STAGES", default=None)
"""What the stages of questions in this context are reported to, with OpenTelemetry or without."""

_NOTHING: Attributes = MappingProxyType({})


class ServerAttributes(NamedTuple):
    """Attributes of spans that are about a server.

    Attributes:
        infer: Of what runs the model.
        metadata: Of what describes the model, which over gRPC is another address.
    """

    infer: Attributes = _NOTHING
    metadata: Attributes = _NOTHING


_NO_SERVER = ServerAttributes()
_SERVER: ContextVar[ServerAttributes] = ContextVar("_SERVER", default=_NO_SERVER)


@functools.cache
def _api() -> tuple[ModuleType, ModuleType] | None:
    """Return the modules `trace` and `propagate`, None where they are not installed."""
    try:
        from opentelemetry import propagate, trace
    except ImportError:
        return None
    return trace, propagate


def _tracer() -> Any:
    """Return the tracer, None where no provider is set: spans that go nowhere take time too."""
    api = _api()
    if api is None or isinstance(api[0].get_tracer_provider(), api[0].ProxyTracerProvider):
        return None
    return _provided_tracer()


@functools.cache
def _provided_tracer() -> Any:
    api = _api()
    return None if api is None else api[0].get_tracer(_NAME)


def stage(name: str, **attributes: int) -> AbstractContextManager[object]:
    """Return a span for a stage of the work, or nothing where nothing wants to know of it.

    Args:
        name: The name of the span.
        **attributes: Its attributes, without the prefix `bertqa.`.
    """
    return _observed(name, attributes, None)


def request(
    kind: Literal["infer", "metadata"], **attributes: int
) -> AbstractContextManager[object]:
    """Return a span for a request to the server, which learns of it by headers.

    Args:
        kind: What is requested; it names the span.
        **attributes: Its attributes, without the prefix `bertqa.`.
    """
    return _observed(f"{_NAME}.{kind}", attributes, getattr(_SERVER.get(), kind))


def continue_trace(headers: Mapping[str, str]) -> AbstractContextManager[object]:
    """Return what makes the trace of a request that came in the current one.

    Args:
        headers: The headers of the request, by lower-case name.
    """
    return nullcontext() if _tracer() is None else _continued(headers)


@contextmanager
def _continued(headers: Mapping[str, str]) -> Iterator[None]:
    from opentelemetry import context, propagate

    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)


def _observed(
    name: str, attributes: Mapping[str, int], server: Attributes | None
) -> AbstractContextManager[object]:
    on_stage = STAGES.get()
    span = nullcontext() if _tracer() is None else _stage(name, attributes, server)
    return span if on_stage is None else _Timed(name, attributes, span, on_stage)


class _Timed:
    """Reports how long a stage took that came to its end."""

    __slots__ = ("_attributes", "_begin", "_name", "_on_stage", "_span")

    def __init__(
        self,
        name: str,
        attributes: Mapping[str, int],
        span: AbstractContextManager[object],
        on_stage: OnStage,
    ) -> None:
        self._name, self._attributes = name, attributes
        self._span, self._on_stage = span, on_stage
        self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter()
        self._span.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._span.__exit__(kind, error, trace)
        if error is None:
            self._on_stage(self._name, time.perf_counter() - self._begin, self._attributes)


@contextmanager
def _stage(name: str, attributes: Mapping[str, int], server: Attributes | None) -> Iterator[None]:
    api = _api()
    assert api is not None
    trace, propagate = api
    known = {f"{_NAME}.{key}": value for key, value in attributes.items()}
    with _tracer().start_as_current_span(
        name,
        kind=trace.SpanKind.INTERNAL if server is None else trace.SpanKind.CLIENT,
        attributes={**(server or _NOTHING), **known},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        reset = None
        if server is not None:
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            reset = CALL_HEADERS.set({**CALL_HEADERS.get(), **_sendable(carrier)})
        try:
            yield
        except BaseException as error:
            _mark(span, error)
            raise
        finally:
            if reset is not None:
                CALL_HEADERS.reset(reset)


class Scope:
    """The span of a question or of a stream, and what its requests send beside the usual headers.

    As a context manager it ends the span; only within `step` is it the current one, so that a
    generator can be left in between.

    Args:
        name: The name of the span.
        headers: More headers for its requests.
        server: Attributes of the server's, for the spans of its requests.
        above: The scope whose span is the parent; None takes the current one. It may have ended.
    """

    def __init__(
        self,
        name: str,
        headers: Mapping[str, str],
        server: ServerAttributes,
        above: Scope | None = None,
    ) -> None:
        self._headers, self._server = headers, server
        self._span: Any = None
        tracer, api = _tracer(), _api()
        if tracer is None or api is None:
            return
        parent = None if above is None else above._span
        context = None if parent is None else api[0].set_span_in_context(parent)
        self._span = tracer.start_span(name, context, attributes=server.infer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A stream that is closed early did not fail.
        self.end(None if isinstance(error, GeneratorExit) else error)

    def step(self) -> AbstractContextManager[object]:
        """Return what makes the span the current one, and its headers those of calls."""
        if self._span is None and not self._headers:
            return nullcontext()
        return self._step()

    def set(self, **attributes: int) -> None:
        """Set attributes of the span.

        Args:
            **attributes: The attributes, without the prefix `bertqa.`.
        """
        if self._span is not None:
            for key, value in attributes.items():
                self._span.set_attribute(f"{_NAME}.{key}", value)

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed where the error is not raised.

        Args:
            error: Why it failed.
        """
        if self._span is not None:
            _mark(self._span, error)

    def end(self, error: BaseException | None) -> None:
        """End the span.

        Args:
            error: Why it failed, None where it did not.
        """
        if self._span is not None:
            if error is not None:
                self.fail(error)
            self._span.end()

    @contextmanager
    def _step(self) -> Iterator[None]:
        headers = CALL_HEADERS.set({**CALL_HEADERS.get(), **self._headers})
        server = _SERVER.set(self._server)
        api = _api()
        try:
            if self._span is None or api is None:
                yield
                return
            with api[0].use_span(self._span, record_exception=False, set_status_on_exception=False):
                yield
        finally:
            _SERVER.reset(server)
            CALL_HEADERS.reset(headers)


def server_attributes(url: str | None, model: str) -> Attributes:
    """Return the attributes of spans that are about the server.

    Args:
        url: Its address; None where there is none.
        model: The model's name.
    """
    attributes: dict[str, str | int] = {f"{_NAME}.model": model}
    if url is not None:
        with suppress(ValueError):
            parts = urlsplit(url if "://" in url else f"//{url}")
            # In dns:///name:port the name is where others have a path.
            host = parts.hostname or urlsplit(f"/{parts.path}").hostname
            if host:
                attributes["server.address"] = host
            if parts.port:
                attributes["server.port"] = parts.port
    return attributes


def check_headers(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Check headers that single calls are to send.

    Args:
        headers: The headers by name, or None.

    Returns:
        The same by lower-case name.

    Raises:
        InvalidOptionError: One cannot be sent, or not by a single call.
    """
    checked = Security.of(headers=headers).headers
    for name in ("host", "user-agent"):
        if name in checked:
            raise InvalidOptionError(
                f"The header {name!r} belongs to the connection: pass it to the client's "
                "constructor."
            )
    return checked or NO_HEADERS


def _sendable(carrier: Mapping[str, str]) -> Mapping[str, str]:
    """Return what a propagator wants to send, nothing where it cannot be sent."""
    try:
        return check_headers(carrier)
    except BertQAError:
        return NO_HEADERS


def _mark(span: Any, error: BaseException) -> None:
    api = _api()
    assert api is not None
    kind = type(error).__qualname__
    span.set_attribute(_ERROR_TYPE, kind)
    span.set_status(api[0].StatusCode.ERROR, kind)
