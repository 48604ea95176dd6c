"""Models in this process as transports."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bertqa._loading import load_model
from bertqa.transport import AsyncTransport, InferResult, Inputs, ModelMetadata, Transport


def open_local_transport(path: Path, version: int | None) -> Transport:
    """Return a transport to a model that is loaded into this process; see `bertqa.runtime.load`."""
    transport: Transport = load_model(path, version)
    return transport


def open_async_local_transport(path: Path, version: int | None) -> AsyncTransport:
    """Return such a transport whose requests run in threads; see `bertqa.runtime.load`."""
    return ThreadedTransport(open_local_transport(path, version))


class ThreadedTransport:
    """A synchronous transport as an asynchronous one: its calls run in threads."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """See `AsyncTransport`."""
        return await asyncio.to_thread(
            self._transport.infer, inputs, version=version, timeout=timeout
        )

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """See `AsyncTransport`."""
        return await asyncio.to_thread(self._transport.metadata, version=version, timeout=timeout)

    async def close(self) -> None:
        """See `AsyncTransport`."""
        self._transport.close()
