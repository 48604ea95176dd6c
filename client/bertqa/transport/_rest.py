"""What both REST transports share: the HTTP client's arguments, limits, and failures."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any

import httpx

from bertqa import _defaults
from bertqa.errors import BertQAError, ProtocolError
from bertqa.transport._address import Address
from bertqa.transport._error_mapping import ErrorMapper
from bertqa.transport._http import client_arguments, mapped_errors, proxy_of
from bertqa.transport._names import Names
from bertqa.transport._retries import pauses
from bertqa.transport._security import Security
from bertqa.transport.codecs import RestCodec


class RestConnection:
    """The state of a connection, whether its calls are awaited or not."""

    def __init__(
        self,
        address: Address,
        model: str,
        security: Security,
        *,
        repeats: bool,
        is_own_client: bool,
    ) -> None:
        self._address = address
        self._model = model
        self._security = security
        self._repeats = repeats
        self._is_own_client = is_own_client
        self._codec = RestCodec(model)
        names = Names.of(address, security)
        self._name_headers = names.headers()
        # A client of the user's has its own way to the server.
        self._proxy = proxy_of(address) if is_own_client else None
        # A server that answered before is waited for; one that never answered is not.
        self._met = False
        # A client of our own has a TLS context that knows the name.
        self._extensions: dict[str, Any] = (
            {}
            if is_own_client or names.certificate is None
            else {"sni_hostname": names.certificate}
        )
        self._client_arguments: dict[str, Any] = (
            {
                **client_arguments(address, security),
                "limits": httpx.Limits(max_connections=_defaults.REST_CONNECTIONS),
            }
            if is_own_client
            else {}
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._address)!r}, model={self._model!r})"

    @property
    def address(self) -> Address:
        """The address that is called."""
        return self._address

    def _mapper(self, version: int | None) -> ErrorMapper:
        return ErrorMapper(
            str(self._address),
            self._model,
            version,
            self._proxy,
            self._security.has_credentials,
        )

    def _url(self, path: str) -> str:
        return f"{self._address}{path}"

    def _may_be_explained(self) -> bool:
        """Return whether a handshake of our own goes the way that the calls go."""
        return self._is_own_client and self._proxy is None

    def _waits(self, deadline: float) -> Iterator[float]:
        """Yield the pauses before further attempts where no server answers."""
        return pauses(deadline, patient=self._met) if self._repeats else iter(())

    def _check_size(self, size: int) -> None:
        if size > _defaults.RESPONSE_LIMIT_BYTES:
            raise ProtocolError(
                f"{self._address} sent more than {_defaults.RESPONSE_LIMIT_BYTES} bytes."
            )

    def _check_status(self, response: httpx.Response, body: bytes, mapper: ErrorMapper) -> None:
        if response.status_code != httpx.codes.OK:
            detail = self._codec.error_detail(body)
            retry_after, location = map(response.headers.get, ("Retry-After", "Location"))
            raise mapper.from_http(response.status_code, detail, retry_after, location)
        self._met = True

    @contextlib.contextmanager
    def _reading(self, version: int | None) -> Iterator[None]:
        """Raise what a strange response means as an error that names the address."""
        try:
            yield
        except ProtocolError as error:
            raise self._mapper(version).misread(error) from error

    def _is_left(self, response: httpx.Response) -> bool:
        """Return whether to leave a response, which has come whole, before it is closed.

        That closes its connection. Behind an address with several servers, the one that lacks what
        was requested is not asked over it again.
        """
        is_missing = response.status_code == httpx.codes.NOT_FOUND
        length = response.headers.get("Content-Length", "")
        return is_missing and str(response.num_bytes_downloaded) == length

    @contextlib.contextmanager
    def _mapping_errors(self, mapper: ErrorMapper) -> Iterator[None]:
        """Raise what a failed call means as an error of `bertqa.errors`."""
        try:
            with mapped_errors(self._address, mapper):
                yield
        except BertQAError:
            raise
        except Exception as error:
            if self._is_own_client:
                raise
            # Of a hook, an authentication or a transport that the user's client has.
            raise BertQAError(
                f"http_client= raised {type(error).__name__}: {error}.", detail=str(error)
            ) from error


class AsyncSockets:
    """The twin of `SyncSockets`: a loop ends reads, but connections may outlive their loop.

    Attributes:
        extensions: Those of each request.

    Args:
        client: The HTTP client, to be closed with the loop of its connections; None for one of the
            user's, which is never closed.
    """

    extensions: Mapping[str, Any] = {}

    def __init__(self, client: httpx.AsyncClient | None) -> None:
        self._client = client
        self._until_end: AsyncGenerator[None, None] | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limits: set[asyncio.Timeout] = set()
        self._is_shut = False

    @contextlib.asynccontextmanager
    async def time_limit(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError where the block takes longer, and end it by `shut_down`.

        A connection that is only being made would come to be after the others are closed.

        Args:
            seconds: How long the block may take.
        """
        try:
            async with asyncio.timeout(seconds) as limit:
                await self._close_with_loop()
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if self._is_shut:
                raise RuntimeError("The connections are closed.") from None
            raise

    def met(self, response: httpx.Response) -> None:
        """Note the socket of a response.

        Args:
            response: The response, whose body may not be read yet.
        """
        self._loop = asyncio.get_running_loop()
        stream = response.extensions.get("network_stream")
        found = None if stream is None else stream.get_extra_info("socket")
        # What asyncio shows of a socket cannot be closed.
        found = getattr(found, "_sock", None)
        if isinstance(found, socket.socket):
            self._sockets.add(found)

    async def _close_with_loop(self) -> None:
        """Have the connections closed at the end of the running loop, if nothing does it before."""
        if self._until_end is None and self._client is not None:
            # A loop that ends closes the generators that were begun in it.
            self._until_end = _closed_at_the_end(self._client)
            await anext(self._until_end)

    @contextlib.asynccontextmanager
    async def shut_down(self) -> AsyncIterator[None]:
        """Close what only a loop that has ended could close, before the block closes the rest."""
        self._is_shut = True
        if self._loop is None or not self._loop.is_closed():
            for limit in list(self._limits):
                with contextlib.suppress(RuntimeError):  # It is over anyway.
                    limit.reschedule(0)
            yield
            if self._until_end is not None:
                await self._until_end.aclose()
            return
        for each in list(self._sockets):
            each.close()
        with contextlib.suppress(RuntimeError):
            yield


class SyncSockets:
    """The sockets of an HTTP client, whose reads in other threads do not end with `close`.

    Attributes:
        extensions: Those of each request, by which the sockets become known.

    Args:
        client: Not used: threads need no loop that could end.
    """

    def __init__(self, client: httpx.Client | None) -> None:
        self.extensions: Mapping[str, Any] = {"trace": self._trace}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_shut = False

    @contextlib.contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Leave the limit to the timeout of each read; see `AsyncSockets.time_limit`.

        Args:
            seconds: Not used.
        """
        yield

    def met(self, response: httpx.Response) -> None:
        """Do nothing; see `AsyncSockets.met`.

        Args:
            response: The response.
        """

    @contextlib.contextmanager
    def shut_down(self) -> Iterator[None]:
        """End reads and writes, before the block closes the connections."""
        self._is_shut = True
        for each in list(self._sockets):
            _end(each)
        yield

    def _trace(self, event: str, found: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            made = found["return_value"].get_extra_info("socket")
            self._sockets.add(made)
            if self._is_shut:
                _end(made)


async def _closed_at_the_end(client: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await client.aclose()


def _end(connection: socket.socket) -> None:
    """End the reads and writes of a socket."""
    with contextlib.suppress(OSError):
        # Not that of TLS, which waits for the other side.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


@contextlib.asynccontextmanager
async def async_time_limit(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError where the block takes longer.

    Args:
        seconds: How long the block may take.
    """
    async with asyncio.timeout(seconds):
        yield


@contextlib.contextmanager
def sync_time_limit(seconds: float) -> Iterator[None]:
    """Leave the limit to the timeout of each read: nothing can interrupt a thread.

    Args:
        seconds: Not used.
    """
    yield
