"""Calling a version of a model on servers that share one address."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from bertqa.errors import ModelNotReadyError, VersionNotFoundError
from bertqa.transport._background import AsyncTransportCall
from bertqa.transport._contract import (
    AsyncProbedTransport,
    AsyncTransport,
    InferResult,
    Inputs,
    ModelMetadata,
)
from bertqa.transport._pausing import async_pause
from bertqa.transport._routes import Route, Routes

T = TypeVar("T")


class AsyncSearchingTransport:
    """Implements `AsyncTransport` over an address behind which servers may have other versions.

    A connection stays with one server, so a call that finds that its server lacks the version is
    made again over new connections, which are balanced anew. The one that led to the version is
    kept for later calls.

    Args:
        open_one: Opens a transport to the address.
    """

    def __init__(self, open_one: Callable[[], AsyncProbedTransport]) -> None:
        self._open_one = open_one
        first = open_one()
        self._name = repr(first)
        self._routes = Routes(first)

    def __repr__(self) -> str:
        return self._name

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model; see `AsyncTransport`."""

        async def call(transport: AsyncTransport, left: float) -> InferResult:
            return await transport.infer(inputs, version=version, timeout=left)

        return await self._call(call, version, timeout)

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model; see `AsyncTransport`."""

        async def call(transport: AsyncTransport, left: float) -> ModelMetadata:
            return await transport.metadata(version=version, timeout=left)

        return await self._call(call, version, timeout)

    async def close(self) -> None:
        """Close all connections; see `AsyncTransport`."""
        await self._close(self._routes.close())

    async def _call(self, call: AsyncTransportCall[T], version: int | None, timeout: float) -> T:
        deadline = time.monotonic() + timeout
        route = self._routes.take(version)
        pauses: Iterator[float] | None = None
        try:
            while True:
                begin = time.monotonic()
                try:
                    result = await call(route.transport, deadline - begin)
                except (VersionNotFoundError, ModelNotReadyError) as error:
                    if pauses is None:
                        is_there = isinstance(error, ModelNotReadyError)
                        pauses = self._routes.pauses(version, deadline, is_there=is_there)
                    pause = next(pauses, None)
                    if pause is None:
                        await self._close(self._routes.replace_first(await self._open()))
                        raise
                else:
                    self._routes.found(route, version)
                    return result
                await async_pause(pause)
                better = self._routes.other_than(route, version, begin)
                if better is None and not route.is_shared:
                    await route.transport.renew()
                    continue
                left, route = route, better or await self._open()
                await self._close(self._routes.release(left))
        finally:
            await self._close(self._routes.release(route))

    async def _open(self) -> Route[AsyncProbedTransport]:
        transport = self._open_one()
        await transport.renew()
        return Route(transport, is_shared=False)

    async def _close(self, transports: list[AsyncProbedTransport]) -> None:
        for transport in transports:
            await transport.close()
