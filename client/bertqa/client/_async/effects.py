"""Executing an effect over a transport."""

from __future__ import annotations

from bertqa.client._effects import FetchMetadata, RunInference
from bertqa.client._tracing import request
from bertqa.qa import collate
from bertqa.transport import AsyncTransport, InferResult, ModelMetadata


async def execute(
    transport: AsyncTransport, effect: FetchMetadata | RunInference, timeout: float
) -> ModelMetadata | InferResult:
    """Execute an effect, within a span of its own.

    Args:
        transport: The transport to call.
        effect: The effect.
        timeout: Seconds to wait at most.

    Returns:
        `ModelMetadata` for FetchMetadata, `InferResult` for RunInference.
    """
    if isinstance(effect, FetchMetadata):
        with request("metadata"):
            return await transport.metadata(version=effect.version, timeout=timeout)
    windows = effect.windows
    with request("infer", windows=len(windows), tokens=sum(map(len, windows))):
        return await transport.infer(collate(windows), version=effect.version, timeout=timeout)
