"""What all HTTP clients of the project share: their settings, and the errors they raise."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from bertqa.errors import ClientStateError, ProtocolError
from bertqa.transport._address import Address, leads_to_loopback
from bertqa.transport._error_mapping import ErrorMapper
from bertqa.transport._names import Names
from bertqa.transport._proxies import Proxy, find_proxy
from bertqa.transport._security import Security


def client_arguments(
    address: Address, security: Security, *, direct: bool = False
) -> dict[str, Any]:
    """Return the arguments of `httpx.Client` or `httpx.AsyncClient` for a server.

    Args:
        address: The server, over HTTP or HTTPS.
        security: TLS files; the headers belong to each request.
        direct: Never use a proxy, whatever the environment says; see `proxy_of`.

    Returns:
        Keyword arguments.

    Raises:
        InvalidOptionError: A TLS file or a proxy cannot be used.
    """
    proxy = proxy_of(address, direct=direct)
    return {
        "proxy": None if proxy is None else proxy.url,
        "verify": _tls_context(address, security) if address.is_secure else False,
        # The proxies of the environment are chosen here: httpx calls loopback through them.
        "trust_env": False,
    }


def _tls_context(address: Address, security: Security) -> ssl.SSLContext:
    """Return a TLS context that asks for the server's name, and checks its certificate against it.

    httpx can pass such a name with a request, but leaves it out in the tunnel of a proxy.
    """
    context, name = security.ssl_context(), Names.of(address, security).certificate
    if name is not None:
        for wrap in (context.wrap_socket, context.wrap_bio):
            setattr(context, wrap.__name__, _naming(wrap, name))
    return context


def _naming(wrap: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a way to begin TLS that has a name of its own for the server."""

    def named(*arguments: Any, **options: Any) -> Any:
        return wrap(*arguments, **{**options, "server_hostname": name})

    return named


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
        connects = isinstance(error, httpx.ConnectTimeout)
        raise mapper.timed_out(str(error), connects=connects) from error
    except httpx.ProxyError as error:
        raise mapper.refused_by_proxy(str(error)) from error
    except httpx.NetworkError as error:
        raise mapper.unreachable(str(error) or type(error).__name__) from error
    except httpx.RemoteProtocolError as error:
        if "disconnected" in str(error) or "peer closed" in str(error):
            raise mapper.unreachable(str(error)) from error
        raise mapper.not_http(str(error)) from error
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        raise ClientStateError(f"The connection to {address} is closed.") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        failure = ProtocolError(
            f"{address} sent HTTP that is not valid: {error}.", detail=str(error)
        )
        raise mapper.of_the_way(failure) from error


def proxy_of(address: Address, *, direct: bool = False) -> Proxy | None:
    """Return the proxy of the environment through which an address is called, if there is one.

    Args:
        address: The address of a server.
        direct: Whether none is wanted.

    Raises:
        InvalidOptionError: The address of the proxy cannot be read or used.
    """
    return None if direct or is_called_directly(address) else find_proxy(address)


def is_called_directly(address: Address) -> bool:
    """Return whether no proxy of the environment is used for an address.

    A proxy would reach its own machine at a loopback address. The IP addresses of a name are called
    one by one only where the name needs no proxy, and `no_proxy` may list the name without them.

    Args:
        address: The address of a server.
    """
    return address.authority is not None or leads_to_loopback(address.host)
