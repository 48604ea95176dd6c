"""One TLS handshake of our own, to see what a server wants."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Of TLS: the type of a record, the type of a message in it, and the bytes before each.
_HANDSHAKE, _CERTIFICATE_REQUEST = 22, 13
_BEFORE_RECORD, _BEFORE_MESSAGE = 5, 4
_AT_ONCE = 65536


class Handshake:
    """A TLS connection over a socket, whose bytes are kept.

    Args:
        connection: A connected socket, with a timeout.
        context: What to trust and to show.
        name: The name of the server.

    Attributes:
        is_done: Whether the handshake is over as far as this side knows. In TLS 1.3 a server
            refuses a client's certificate after that.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self.is_done = False
        self._connection = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._received = b""

    @property
    def protocol(self) -> str | None:
        """The protocol that both sides agreed on by ALPN."""
        return self._tls.selected_alpn_protocol()

    @property
    def asks_for_certificate(self) -> bool:
        """Whether the server asked for a client's certificate, as can be seen up to TLS 1.2."""
        records, messages = self._received, b""
        while len(records) >= _BEFORE_RECORD and records[0] == _HANDSHAKE:
            end = _BEFORE_RECORD + int.from_bytes(records[3:_BEFORE_RECORD])
            messages += records[_BEFORE_RECORD:end]
            records = records[end:]
        while len(messages) >= _BEFORE_MESSAGE:
            if messages[0] == _CERTIFICATE_REQUEST:
                return True
            messages = messages[_BEFORE_MESSAGE + int.from_bytes(messages[1:_BEFORE_MESSAGE]) :]
        return False

    def run(self) -> None:
        """Make the handshake.

        Raises:
            OSError: It failed; an `ssl.SSLError` where TLS did.
        """
        self._step(self._tls.do_handshake)
        self.is_done = True

    def read(self) -> bytes:
        """Return a byte of what the server sends after it.

        Raises:
            OSError: It sends nothing in time, or ends the connection.
        """
        return self._step(lambda: self._tls.read(1))

    def _step(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._send()
            else:
                self._send()
                return result
            if data := self._connection.recv(_AT_ONCE):
                self._received += data
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _send(self) -> None:
        if data := self._outgoing.read():
            self._connection.sendall(data)
