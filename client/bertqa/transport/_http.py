"""What all HTTP clients of the project share: their settings, and the errors they raise."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from typing import Any

import httpx

from bertqa.errors import ClientStateError, ProtocolError
from bertqa.transport._address import Address
from bertqa.transport._error_mapping import ErrorMapper
from bertqa.transport._security import Security


def client_arguments(
    address: Address, security: Security, *, direct: bool = False
) -> dict[str, Any]:
    """Return the arguments of `httpx.Client` or `httpx.AsyncClient` for a server.

    The proxies that the environment names (`HTTP_PROXY` and its kin) are followed, except to what
    `is_called_directly`.

    Args:
        address: The server, over HTTP or HTTPS.
        security: TLS files; the headers belong to each request.
        direct: Never use a proxy, whatever the environment says.

    Returns:
        Keyword arguments.

    Raises:
        InvalidOptionError: A TLS file cannot be read.
    """
    return {
        "base_url": str(address),
        "headers": _names(address),
        "verify": security.ssl_context() if address.is_secure else False,
        "trust_env": not (direct or is_called_directly(address)),
    }


@contextlib.contextmanager
def mapped_errors(address: Address, mapper: ErrorMapper) -> Iterator[None]:
    """Raise what httpx raises in the block as errors of `bertqa.errors`.

    Args:
        address: The server that the block talks to.
        mapper: What makes errors of `bertqa.errors` for this server.
    """
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as error:
        raise mapper.timed_out(str(error)) from error
    except httpx.NetworkError as error:
        raise mapper.unreachable(str(error)) from error
    except httpx.RemoteProtocolError as error:
        if "disconnected" in str(error) or "peer closed" in str(error):
            raise mapper.unreachable(str(error)) from error
        raise ProtocolError(
            f"{address} does not speak HTTP: is it a gRPC port?", detail=str(error)
        ) from error
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        raise ClientStateError(f"The connection to {address} is closed.") from error
    except httpx.HTTPError as error:
        raise ProtocolError(
            f"{address} sent HTTP that is not valid: {error}.", detail=str(error)
        ) from error


def is_called_directly(address: Address) -> bool:
    """Return whether no proxy of the environment is used for an address.

    A proxy would reach its own machine at a loopback address. The IP addresses of a name are called
    one by one only where the name needs no proxy, and `no_proxy` may list the name without them.

    Args:
        address: The address of a server.
    """
    return address.authority is not None or is_loopback(address.host)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or its IP address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names(address: Address) -> dict[str, str]:
    """Return the headers by which a server is called by its name at one of its IP addresses."""
    return {} if address.authority is None else {"host": f"{address.authority}:{address.port}"}
