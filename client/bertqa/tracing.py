"""OpenTelemetry spans, where the user has it installed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

try:
    from opentelemetry import trace
except ImportError:
    trace = None


def stage(name: str, **attributes: str | int) -> AbstractContextManager[object]:
    """Trace a stage of the work; does nothing where OpenTelemetry is not installed."""
    if trace is None:
        return nullcontext()
    span: AbstractContextManager[object] = trace.get_tracer("bertqa").start_as_current_span(
        name, attributes=attributes
    )
    return span
