"""Connections that send or read too slowly: they are closed, and hold nothing for long."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bertqa._reason import reason_of
from bertqa_serve.errors import PortInUseError
from bertqa_serve.http_api.encoding import json_line
from bertqa_serve.http_api.options import HTTP_PORT

# How long the head of a request may take to arrive, and a new connection may be silent.
HEAD_SECONDS = 15.0
# What the parser may hold of a request, such as its head, before it gives it on.
HEAD_BYTES = 256 * 1024
# How long what was sent may stay unread.
UNREAD_SECONDS = 60.0
_BACKLOG = 2048
_PORTS_TRIED = 100


class PatientProtocol(HttpToolsProtocol):
    """HTTP on one connection, which is closed where the head of a request does not arrive.

    uvicorn waits for one without end, whatever its length, and takes trailers for headers.
    """

    _waiting: asyncio.TimerHandle | None = None
    _held = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.parser = _Declining(self.parser, self)  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._held += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._held > HEAD_BYTES:
            self._refuse(431, f"The head of the request has more than {HEAD_BYTES:,} bytes.")
            return
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if not is_answering and self._waiting is None and self.timeout_keep_alive_task is None:
            # What is left of a request that was answered before it was there.
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header, and no trailer; see `httptools`."""
        if self._waiting is not None:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Note a part of a body; see `httptools`."""
        self._held = 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        """Note that a request begins; see `httptools`."""
        super().on_message_begin()
        if self._waiting is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Note that a head has arrived; see `httptools`."""
        if self._is_to_be_read_again():
            return
        self._held = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a request has arrived; see `httptools`."""
        if not self._is_to_be_read_again():
            self._held = 0
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the form of all errors.

        Args:
            msg: A sentence.
        """
        self._refuse(400, msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _refuse(self, status: int, message: str) -> None:
        body = json_line({"error": message})
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _is_to_be_read_again(self) -> bool:
        assert isinstance(self.parser, _Declining)
        return self.parser.offers_another_protocol()

    def _await_head(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Declining:
    """A parser that reads on where a request offers another protocol than HTTP/1.1.

    Java's client offers HTTP/2 with each request; httptools stops behind such a head, and uvicorn
    then loses the body.

    Args:
        parser: httptools' parser.
        protocol: Whose methods the parser calls.
    """

    def __init__(self, parser: Any, protocol: HttpToolsProtocol) -> None:
        self._parser = parser
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def offers_another_protocol(self) -> bool:
        """Return whether the head that was read last offers one, and is to be read again."""
        return bool(self._parser.should_upgrade()) and self._parser.get_method() != b"CONNECT"

    def feed_data(self, data: bytes) -> None:
        """Parse what arrived; see `httptools`."""
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offer:
                if not self.offers_another_protocol():
                    raise
                data = self._head_without_offer() + data[offer.args[0] :]
                # With `Connection: close` the other one takes nothing more.
                self._parser = httptools.HttpRequestParser(self._protocol)
                self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_offer(self) -> bytes:
        version = self._parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self._parser.get_method(), self._protocol.url, version)]
        headers = self._protocol.headers
        lines += [b"%s: %s" % each for each in headers if each[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])


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
            is_address = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
            advice = "Name an address of this machine" if is_address else "Choose another port"
            raise PortInUseError(
                f"Port {tried} on {host} cannot be used for the HTTP API: {reason_of(error)}. "
                f"{advice}.",
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
