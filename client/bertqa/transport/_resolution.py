"""What the name of a server stands for."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import urllib.request

from bertqa.transport._address import Address
from bertqa.transport._proxies import is_excepted


async def async_resolve(address: Address) -> list[str]:
    """Return the IP addresses of a host, none where it cannot be resolved."""
    return await asyncio.to_thread(sync_resolve, address)


def sync_resolve(address: Address) -> list[str]:
    """Return the IP addresses of a host, none where it cannot be resolved."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(socket_address[0]) for *_, socket_address in found]


def may_have_several(address: Address) -> bool:
    """Return whether the name of an address may stand for several servers.

    An IP address and a loopback name do not, and where a proxy is used, it resolves the name.
    """
    if address.is_local:
        return False
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return not _has_proxy(address)
    return False


def _has_proxy(address: Address) -> bool:
    """gRPC and httpx both follow the environment's proxies, gRPC those of HTTP for all."""
    if not urllib.request.getproxies().keys() & {"grpc", "http", "https", "all"}:
        return False
    return not is_excepted(address)
