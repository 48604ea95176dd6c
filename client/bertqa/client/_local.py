"""Models in this process as transports.

The clients do not know the engines: `bertqa` itself, which knows both, hands over the function
that loads a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from bertqa.errors import ClientStateError
from bertqa.transport import AsyncTransport, InferResult, Inputs, ModelMetadata, Transport

LoadModel = Callable[[Path, int | None], Transport]

_load_model: LoadModel | None = None


def load_models_with(load_model: LoadModel) -> None:
    """Set the function that loads the model at a path, of a version if one is named.

    Args:
        load_model: Takes the path and the version, None for the latest, and returns an open
            transport.
    """
    global _load_model
    _load_model = load_model


def open_local_transport(path: Path, version: int | None) -> Transport:
    """Return a transport to a model that is loaded into this process; see `bertqa.runtime.load`."""
    if _load_model is None:
        raise ClientStateError("No runtime is known: import bertqa.")
    return _load_model(path, version)


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
