"""OpenTelemetry spans, where the user has it installed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def _find_tracer() -> Any:
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace.get_tracer("bertqa")


_TRACER = _find_tracer()


def stage(name: str, **attributes: int) -> AbstractContextManager[object]:
    """Return a span for a stage of the work, or nothing where OpenTelemetry is not installed.

    Args:
        name: The name of the span.
        **attributes: Its attributes.
    """
    if _TRACER is None:
        return nullcontext()
    span: AbstractContextManager[object] = _TRACER.start_as_current_span(
        name, attributes=attributes
    )
    return span
