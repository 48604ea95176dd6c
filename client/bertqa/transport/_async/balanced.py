"""Calling a model on several servers of one name."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from bertqa import _defaults
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ModelNotFoundError,
    ModelNotReadyError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport._address import Address
from bertqa.transport._background import AsyncCall, AsyncTransportCall
from bertqa.transport._contract import (
    AsyncProbedTransport,
    AsyncTransport,
    InferResult,
    Inputs,
    ModelMetadata,
)
from bertqa.transport._endpoints import Endpoint, EndpointPool
from bertqa.transport._pausing import async_pause
from bertqa.transport._resolution import async_resolve
from bertqa.transport._retries import pauses

T = TypeVar("T")
# Another server of the name may do better: it may serve other versions, or have loaded them. Where
# none does, the first of these that was met is raised: what it says may change soonest.
_OF_ONE_SERVER = (
    ModelNotReadyError,
    ModelNotFoundError,
    VersionNotFoundError,
    ServerUnreachableError,
)


def _order(error: BertQAError) -> int:
    return next(at for at, kind in enumerate(_OF_ONE_SERVER) if isinstance(error, kind))


class AsyncBalancedTransport:
    """Implements `AsyncTransport` over all addresses that a name resolves to.

    A call to a server that cannot be reached, or that does not serve the version, goes to another
    one. So does a call that is silent, once a probe over a new connection is not answered either:
    the server hangs. A server that cannot be reached or hangs is ejected, and used again when a
    later probe is answered. A name with one address is left to `single`, which waits for its server
    instead, and finds versions on several servers behind that address.

    Args:
        address: The address with the name.
        single: The transport to the name itself.
        open_endpoint: Opens a transport to an address, which repeats no call by itself.
    """

    def __init__(
        self,
        address: Address,
        single: AsyncTransport,
        open_endpoint: Callable[[Address], AsyncProbedTransport],
    ) -> None:
        self._address = address
        self._single = single
        self._pool: EndpointPool[AsyncProbedTransport] = EndpointPool(
            lambda ip: open_endpoint(address.at(ip)), in_turn=address.scheme == "dns"
        )
        self._resolved_at: float | None = None
        self._called_at = 0.0
        # What has succeeded: the model may be described at another port than the one that runs it.
        self._met: set[str] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r})"

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model; see `AsyncTransport`."""

        async def call(transport: AsyncTransport, left: float) -> InferResult:
            return await transport.infer(inputs, version=version, timeout=left)

        return await self._call(call, timeout, "infer")

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model; see `AsyncTransport`."""

        async def call(transport: AsyncTransport, left: float) -> ModelMetadata:
            return await transport.metadata(version=version, timeout=left)

        return await self._call(call, timeout, "metadata")

    async def close(self) -> None:
        """Close all connections; see `AsyncTransport`."""
        self._closed = True
        await self._close(self._pool.close())
        await self._single.close()

    async def _call(self, call: AsyncTransportCall[T], timeout: float, kind: str) -> T:
        deadline = time.monotonic() + timeout
        if self._resolved_at is None:
            await AsyncCall.run(self._resolve, self._stop_resolving, timeout)
        elif self._has_rested():
            with contextlib.suppress(DeadlineExceededError):
                patience = min(timeout, _defaults.RESOLVE_PATIENCE_SECONDS)
                await AsyncCall.run(self._resolve, self._stop_resolving, patience)
        self._called_at = time.monotonic()
        self._refresh(_defaults.RESOLVE_SECONDS)
        if len(self._pool) < 2:
            return await call(self._single, deadline - time.monotonic())
        waits = pauses(deadline, patient=kind in self._met)
        failed: dict[str, BertQAError] = {}
        while True:
            endpoint = self._pool.take(failed)
            try:
                result = await self._call_endpoint(endpoint, call, deadline)
            except _OF_ONE_SERVER as error:
                failed[endpoint.ip] = error
                if len(failed) >= len(self._pool):
                    *_, last = errors = sorted(failed.values(), key=_order)
                    # A server that is away may be the only one that has the version.
                    is_away = isinstance(last, ServerUnreachableError)
                    pause = next(waits, None) if is_away else None
                    if pause is None:
                        raise errors[0] from errors[0].__cause__
                    failed.clear()
                    # Servers that are started anew may have other addresses.
                    self._refresh(_defaults.BACKOFF_LIMIT_SECONDS)
                    await async_pause(pause)
            else:
                self._met.add(kind)
                return result
            finally:
                await self._close(self._pool.release(endpoint))

    async def _call_endpoint(
        self, endpoint: Endpoint[AsyncProbedTransport], call: AsyncTransportCall[T], deadline: float
    ) -> T:
        async def attempt() -> T:
            return await call(endpoint.transport, deadline - time.monotonic())

        async def look() -> None:
            if deadline - time.monotonic() < _defaults.PROBE_SECONDS:
                return  # The call ends sooner.
            if not await endpoint.transport.is_live(_defaults.PROBE_SECONDS):
                raise ServerUnreachableError(
                    f"{self._address.at(endpoint.ip)} has stopped answering: does its process hang?"
                )

        try:
            result = await AsyncCall.run(attempt, look, _defaults.SILENT_SECONDS)
        except ServerUnreachableError:
            self._pool.failed(endpoint)
            await self._close(self._pool.replace(endpoint))
            raise
        except DeadlineExceededError:
            self._start_probes(self._pool.suspect(endpoint))
            raise
        self._pool.answered(endpoint)
        return result

    def _has_rested(self) -> bool:
        """Return whether all servers may have other addresses than at the last call."""
        since = max(self._called_at, self._resolved_at or 0.0)
        return time.monotonic() - since > _defaults.RESOLVE_AFTER_REST_SECONDS

    def _refresh(self, seconds: float) -> None:
        """Resolve the name again after so long, and probe servers that were left, beside calls."""
        now = time.monotonic()
        if self._resolved_at is not None and now - self._resolved_at > seconds:
            self._resolved_at = now
            AsyncCall.start(self._resolve)
        self._start_probes(self._pool.due())

    async def _stop_resolving(self) -> None:
        raise DeadlineExceededError(
            f"The name of {self._address} was not resolved in time: does the name server answer? "
            "Pass a greater timeout= to wait longer."
        )

    async def _resolve(self) -> None:
        ips = await async_resolve(self._address)
        self._resolved_at = time.monotonic()
        if ips and not self._closed:
            await self._close(self._pool.update(ips))

    def _start_probes(self, endpoints: list[Endpoint[AsyncProbedTransport]]) -> None:
        for endpoint in endpoints:
            AsyncCall.start(partial(self._probe, endpoint))

    async def _probe(self, endpoint: Endpoint[AsyncProbedTransport]) -> None:
        is_live = await endpoint.transport.is_live(_defaults.PROBE_SECONDS)
        self._pool.probed(endpoint, answers=is_live)

    async def _close(self, transports: list[AsyncProbedTransport]) -> None:
        for transport in transports:
            await transport.close()
