"""The proxies that the environment names."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import re
import urllib.request
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpx

from bertqa.errors import AccessDeniedError, InvalidOptionError
from bertqa.transport._address import REST_SCHEMES, Address, valid_host

_REST_PROXIES = {"http": ("http", "all"), "https": ("https", "all")}
# gRPC takes the first of these, whether or not the connection is encrypted.
_GRPC_PROXIES = ("grpc", "https", "http")
_SCHEMES = ("http", "https", "socks5", "socks5h")
_SOCKS = ("socks5", "socks5h")
# What httpx and gRPC say of a proxy that does not lead to a server.
_STATUS = re.compile(r"(?i)(?:^|proxy returned response code )([0-9]{3})\b")
_UNKNOWN_TO_SOCKS = re.compile(r"Invalid username/password|from proxy server, but got")
_AUTHENTICATION = 407
_NOT_ALLOWED = (401, 403, 405)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and where its address comes from; `str()` of it hides a password.

    Attributes:
        url: The address of the proxy.
        variable: The environment variable that names it.
    """

    url: str
    variable: str

    def __str__(self) -> str:
        return (
            f"the proxy {_without_password(self.url)} of the environment variable {self.variable}"
        )


def find_proxy(address: Address) -> Proxy | None:
    """Return the proxy that the environment names for an address.

    Args:
        address: The address of a server, which is not called directly anyway.

    Returns:
        The proxy, or None: where no variable names one, where `no_proxy` lists the host, and over
        gRPC where its address is not one of HTTP, which gRPC passes over.

    Raises:
        InvalidOptionError: The address of the proxy cannot be read or used.
    """
    is_rest = address.scheme in REST_SCHEMES
    found = urllib.request.getproxies()
    kinds = _REST_PROXIES[address.scheme] if is_rest else _GRPC_PROXIES
    kind = next((each for each in kinds if found.get(each)), None)
    if kind is None or _is_excepted(address, is_rest=is_rest):
        return None
    text = found[kind].strip()
    scheme, separator, rest = text.partition("://")
    url = f"{scheme.lower()}://{rest}" if separator else f"http://{text}"
    proxy = Proxy(url, _variable(kind))
    if not is_rest and not url.startswith("http://"):
        return None
    _check(proxy)
    return proxy


def proxy_error(address: str, detail: str) -> AccessDeniedError | None:
    """Return the error for a proxy that refuses to lead to a server, None where it only failed to.

    Args:
        address: The address that was called.
        detail: The message of the library, with the status of the proxy's answer.
    """
    found = _STATUS.search(detail)
    status = int(found[1]) if found else None
    if status == _AUTHENTICATION or _UNKNOWN_TO_SOCKS.search(detail):
        return proxy_requires_authentication(address, detail)
    if status not in _NOT_ALLOWED:
        return None
    return AccessDeniedError(
        f"A proxy in front of {address} refuses to lead there (status {status}): have that "
        "allowed, or list the server in NO_PROXY.",
        detail=detail,
    )


def proxy_requires_authentication(address: str, detail: str) -> AccessDeniedError:
    """Return the error for a proxy that does not know the caller.

    Args:
        address: The address that was called.
        detail: The words of the proxy, or of the library.
    """
    return AccessDeniedError(
        f"A proxy in front of {address} requires authentication: write its user name and password "
        "into its address (http://user:password@proxy:port).",
        detail=detail,
    )


def is_excepted(address: Address) -> bool:
    """Return whether `no_proxy` lists the host of an address."""
    return _is_excepted(address, is_rest=address.scheme in REST_SCHEMES)


def _is_excepted(address: Address, *, is_rest: bool) -> bool:
    names = ("no_proxy",) if is_rest else ("no_proxy", "no_grpc_proxy")
    lists = [os.environ.get(name) or os.environ.get(name.upper()) or "" for name in names]
    entries = [each.strip().lower() for each in ",".join(lists).split(",") if each.strip()]
    # What a system without such variables has in its settings.
    of_system = bool(urllib.request.proxy_bypass(address.location))
    return of_system or any(_covers(each, address) for each in entries)


def _covers(entry: str, address: Address) -> bool:
    """Return whether one entry of `no_proxy` covers an address: a name, with those below it too."""
    host, entry = address.host.lower().rstrip("."), entry.rstrip(".")
    if entry in ("*", host, address.location.lower()):
        return True
    with contextlib.suppress(ValueError):
        ip = ipaddress.ip_address(host)
        with contextlib.suppress(ValueError):
            return ip in ipaddress.ip_network(entry.strip("[]"), strict=False)
        return False
    name = host if ":" not in entry else address.location.lower()
    return name.endswith(f".{entry.lstrip('*').lstrip('.')}")


def _variable(kind: str) -> str:
    for name in (f"{kind}_proxy", f"{kind}_proxy".upper()):
        if os.environ.get(name):
            return name
    return f"{kind}_proxy (of the system's settings)"


def _check(proxy: Proxy) -> None:
    """Raise InvalidOptionError where an HTTP client cannot use a proxy."""
    try:
        httpx.URL(proxy.url)
        fault = _fault_of(urlsplit(proxy.url))
    except (httpx.InvalidURL, ValueError) as error:
        fault = f"its address cannot be read ({error})"
    if fault is not None:
        raise InvalidOptionError(
            f"{str(proxy)[0].upper()}{str(proxy)[1:]} cannot be used: {fault}. Correct the "
            "variable, unset it, or list the server in NO_PROXY."
        )


def _fault_of(url: SplitResult) -> str | None:
    if url.scheme not in _SCHEMES:
        return f"its address has to begin with one of {', '.join(f'{s}://' for s in _SCHEMES)}"
    if valid_host(url.hostname or "") is None or url.port == 0:
        return "its address names no host, or one that cannot be"
    if url.scheme in _SOCKS and importlib.util.find_spec("socksio") is None:
        return "a SOCKS proxy needs the package socksio (`pip install httpx[socks]`)"
    return None


def _without_password(url: str) -> str:
    """Return a URL without user name and password, to be shown, also where it cannot be read."""
    scheme, separator, rest = url.partition("://")
    shown = f"{scheme}{separator}{rest.rpartition('@')[2]}"
    return "".join(each if each.isprintable() else "?" for each in shown)
