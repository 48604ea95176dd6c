"""Connections that send or read too slowly: they are closed, and hold nothing for long."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bertqa._reason import reason_of
from bertqa_serve.errors import PortInUseError
from bertqa_serve.http_api.options import HTTP_PORT

# How long the head of a request may take to arrive, and a new connection may be silent.
HEAD_SECONDS = 15.0
# How long what was sent may stay unread.
UNREAD_SECONDS = 60.0
_BACKLOG = 2048
_PORTS_TRIED = 100


class PatientProtocol(HttpToolsProtocol):
    """HTTP on one connection, which is closed where the head of a request does not arrive.

    uvicorn waits for one without end.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        """Note that a request begins; see `httptools`."""
        super().on_message_begin()
        if self._waiting is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Note that a head has arrived; see `httptools`."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def listener(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens, for any number of processes.

    Args:
        host: The address to listen on.
        port: The port; 0 takes any that is free, None 8080 or the next one that is free.

    Raises:
        PortInUseError: Another process listens there, or the address cannot be used.
    """
    ports = range(HTTP_PORT, HTTP_PORT + _PORTS_TRIED) if port is None else [port]
    for tried in ports:
        try:
            return _listening(host, tried)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and tried != ports[-1]:
                continue
            raise PortInUseError(
                f"Port {tried} on {host} cannot be used for the HTTP API: {reason_of(error)}. "
                "Choose another port.",
                detail=str(error),
            ) from error
    raise AssertionError


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with ExitStack() as stack:
        opened = stack.enter_context(socket.socket(family, kind, protocol))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections have it from here. A client that never reads holds its answers no longer.
            milliseconds = int(1000 * UNREAD_SECONDS)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        opened.bind(address)
        opened.listen(_BACKLOG)
        stack.pop_all()
        return opened
