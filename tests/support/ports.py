"""Ports of loopback."""

from __future__ import annotations

import contextlib
import random
import socket

from bertqa import _defaults


def free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_pair() -> tuple[int, int]:
    """A gRPC and a REST port, as far apart as they are by convention."""
    while True:
        grpc_port = random.randrange(20_000, 60_000)
        rest_port = grpc_port - _defaults.REST_PORT_BELOW_GRPC
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", grpc_port))
            other.bind(("127.0.0.1", rest_port))
            return grpc_port, rest_port
