"""A port of loopback whose connections are carried to a pod."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

from kubernetes import client

_CHUNK = 65_536
# An API server that does not answer must not keep a block from ending.
_CLOSE_SECONDS = 10.0


class Tunnel:
    """A port of loopback whose connections are carried to a pod, each by threads of its own.

    Entered as a block it returns its port. When the block has ended, however it did, so have its
    connections and threads.

    Args:
        connect: Opens a connection to a port of the pod, as the Kubernetes client does.
        port: That port.
    """

    def __init__(self, connect: Callable[[], Any], port: int) -> None:
        self._connect = connect
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._carrying: list[threading.Thread] = []
        self._open: list[Any] = []
        self._closing = False
        self._lock = threading.Lock()

    def __enter__(self) -> int:
        self._accepting.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *details: object) -> None:
        # Closing a socket does not wake a thread that waits on it; shutting it down does.
        _shut_down(self._listener)
        self._accepting.join()
        self._listener.close()
        with self._lock:
            self._closing = True
            for each in self._open:
                _shut_down(each)
        give_up = time.monotonic() + _CLOSE_SECONDS
        for thread in self._carrying:
            thread.join(max(0.0, give_up - time.monotonic()))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._carry, args=(connection,), daemon=True)
                self._carrying.append(thread)
                thread.start()

    def _carry(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError, client.ApiException):
            self._keep(connection)
            with closing(self._connect().socket(self._port)) as inside:
                inside.setblocking(True)
                self._keep(inside)
                back = threading.Thread(target=_pump, args=(inside, connection), daemon=True)
                back.start()
                _pump(connection, inside)
                _shut_down(inside)
                back.join()

    def _keep(self, opened: Any) -> None:
        """Remember a socket that has to be shut down in the end, which may be now."""
        with self._lock:
            self._open.append(opened)
            if self._closing:
                _shut_down(opened)


def _pump(source: Any, target: Any) -> None:
    """Carry bytes until either end closes, and then close the other for writing."""
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _shut_down(each: Any) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
