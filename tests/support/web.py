"""A web application on loopback, served by a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

LOOPBACK = "127.0.0.1"


@contextmanager
def serving_application(application: Any, port: int, **settings: Any) -> Iterator[None]:
    """Have it answer on the port inside the block; `settings` are uvicorn's."""
    config = uvicorn.Config(
        application,
        host=LOOPBACK,
        port=port,
        log_level="error",
        timeout_graceful_shutdown=1,  # Clients may keep their connections open.
        **settings,
    )
    with running(config):
        yield


@contextmanager
def running(config: uvicorn.Config, sockets: list[socket.socket] | None = None) -> Iterator[None]:
    """Run a server inside the block, on sockets that listen already where there are some."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=(sockets,))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
