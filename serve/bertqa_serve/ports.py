"""Ports for a server: finding free ones, and waiting for one that is still held by the system."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

from bertqa._reason import reason_of
from bertqa.artifact import GRPC_PORT, REST_PORT
from bertqa_serve.errors import PortInUseError

_PAIRS_TRIED = 100
_LOOPBACK = "127.0.0.1"
_LOOPBACK_OF = {"0.0.0.0": _LOOPBACK, "::": "::1"}
# Such a connection is held for a minute after the server ended, and for another after its client
# closed it.
_LINGER_SECONDS = 125.0
_LOOK_SECONDS = 0.1


def free_ports() -> tuple[int, int]:
    """Return a gRPC and a REST port of loopback that are free: 9000 and 8000, or the next above.

    They are as far apart as clients expect, which derive the REST port from the gRPC port.

    Raises:
        PortInUseError: None of the pairs that were tried is free.
    """
    for above in range(_PAIRS_TRIED):
        ports = GRPC_PORT + above, REST_PORT + above
        if all(_refusal(_LOOPBACK, port) is None for port in ports):
            return ports
    raise PortInUseError(
        f"None of the ports {GRPC_PORT} to {GRPC_PORT + above} is free together with the one "
        f"{GRPC_PORT - REST_PORT} below it: end one of the servers that use them."
    )


def any_ports() -> tuple[int, int]:
    """Return two ports of loopback that are free, which the system chooses."""
    with (
        socket.create_server((_LOOPBACK, 0)) as first,
        socket.create_server((_LOOPBACK, 0)) as second,
    ):
        return first.getsockname()[1], second.getsockname()[1]


def reachable(host: str) -> str:
    """Return the host at which this machine reaches what listens on an address, as in a URL.

    Args:
        host: The address.
    """
    host = _LOOPBACK_OF.get(host, host)
    return f"[{host}]" if ":" in host else host


def require_free(host: str, port: int) -> None:
    """Check that a server can listen on a port, before it is started.

    Args:
        host: The address to listen on.
        port: The port.

    Raises:
        PortInUseError: Another process listens there, or the address cannot be used.
    """
    refusal = _refusal(host, port)
    if refusal is None:
        return
    advice = "Choose another one with --port and --rest-port."
    if isinstance(refusal, socket.gaierror) or refusal.errno == errno.EADDRNOTAVAIL:
        advice = "Name an address of this machine with --host."
    elif refusal.errno == errno.EADDRINUSE:
        advice = (
            "End the server that listens there, which may be one that a killed `bert-qa serve` "
            "left behind, or choose another one with --port and --rest-port."
        )
    raise PortInUseError(
        f"Port {port} on {host} cannot be used: {reason_of(refusal)}. {advice}",
        detail=str(refusal),
    )


def wait_until_released(
    host: str, port: int, *, log: Callable[[str], None], stopped: Callable[[], bool]
) -> None:
    """Wait until connections of an earlier server no longer hold a gRPC port, 125 seconds at most.

    After a restart such connections linger in the system, and `ovms` refuses their gRPC port; it
    takes their REST port.

    Args:
        host: The address that the server is to listen on.
        port: The gRPC port.
        log: Is called with the reason, if there is anything to wait for.
        stopped: Returns whether to wait no longer.
    """
    deadline = time.monotonic() + _LINGER_SECONDS
    if _refusal(host, port, among_lingering=False):
        log(
            f"The system still holds port {port} for connections of an earlier server, and ovms "
            f"refuses it meanwhile: waiting until it is free, {_LINGER_SECONDS:.0f} seconds at "
            "most. Another --port need not wait."
        )
    while _refusal(host, port, among_lingering=False) and time.monotonic() < deadline:
        if stopped():
            return
        time.sleep(_LOOK_SECONDS)


def _refusal(host: str, port: int, *, among_lingering: bool = True) -> OSError | None:
    """Return why a port cannot be listened on, None if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(among_lingering))
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None
