"""Another address of a server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Place = tuple[str, int]


@contextmanager
def relay(at: Place, target: Callable[[], Place]) -> Iterator[None]:
    """Pass what comes in at an address on to a server; a connection ends when the server's does.

    Each connection asks where the server is, because one that comes back may be elsewhere.
    """
    with socket.create_server(at) as listener:
        threading.Thread(target=_accept, args=(listener, target), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: Callable[[], Place]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, target()), daemon=True).start()


def _serve(client: socket.socket, target: Place) -> None:
    with client, contextlib.suppress(OSError), socket.create_connection(target) as server:
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
