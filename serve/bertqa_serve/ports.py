"""Finding ports for a server where those that it has by default are taken."""

from __future__ import annotations

import socket

from bertqa.artifact import GRPC_PORT, REST_PORT
from bertqa_serve.errors import PortInUseError

_TRIED = 100
_LOOPBACK = "127.0.0.1"


def free_ports() -> tuple[int, int]:
    """Return a gRPC and a REST port of loopback that are free: 9000 and 8000, or the next above.

    They are as far apart as clients expect, who are told one of them. Raises PortInUseError.
    """
    for above in range(_TRIED):
        ports = GRPC_PORT + above, REST_PORT + above
        if all(map(_is_free, ports)):
            return ports
    raise PortInUseError(
        f"None of the ports {GRPC_PORT} to {GRPC_PORT + above} is free, each with the one "
        f"{GRPC_PORT - REST_PORT} below it."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex((_LOOPBACK, port)) != 0
