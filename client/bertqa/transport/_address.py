"""Parsing the address of a server."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from bertqa import _defaults
from bertqa._checks import shown
from bertqa.errors import InvalidOptionError

REST_SCHEMES = ("http", "https")
TFS_SCHEMES = ("tfs", "tfss")

_DEFAULT_PORTS = {
    "grpc": _defaults.GRPC_PORT,
    "grpcs": _defaults.GRPC_PORT,
    "dns": _defaults.GRPC_PORT,
    "dnss": _defaults.GRPC_PORT,
    "tfs": _defaults.GRPC_PORT,
    "tfss": _defaults.GRPC_PORT,
    "http": _defaults.REST_PORT,
    "https": _defaults.REST_PORT,
}
_ROUND_ROBIN = {"dns": "grpc", "dnss": "grpcs"}
_ENCRYPTED = {"grpc": "grpcs", "dns": "dnss", "tfs": "tfss", "http": "https"}
_DNS = re.compile(r"(?i)^(dnss?):///")
_OF_GRPC_ALONE = re.compile(
    r"(?i)(ipv4|ipv6|unix|unix-abstract|vsock|xds|dns|dnss):(?!//|[0-9]+$)|(unix|xds)://"
)
_LABEL = re.compile(r"[0-9A-Za-z_-]{1,63}")
_LONGEST_NAME = 253
_LONGEST_PATH = 500
# What the C library takes for an IPv4 address: 127.1, 0x7f.0.0.1, 2130706433.
_IPV4 = re.compile(r"(?i)(0x[0-9a-f]+|[0-9]+)(\.(0x[0-9a-f]+|[0-9]+)){0,3}")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server; `str()` of it is a URL.

    Attributes:
        scheme: The scheme, for example `grpc`.
        host: A name or an IP address, without brackets.
        port: The TCP port.
        path: Empty, or a path that begins with a slash.
        authority: The name of the server, where `host` is one of the IP addresses of that name.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    authority: str | None = None

    def __str__(self) -> str:
        slashes = ":///" if self.is_round_robin else "://"
        return f"{self.scheme}{slashes}{self.location}{self.path}"

    @property
    def location(self) -> str:
        """The address as `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in _ENCRYPTED.values()

    @property
    def is_round_robin(self) -> bool:
        """Whether the addresses of the name take turns."""
        return self.scheme in _ROUND_ROBIN

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, by its name or its IP address."""
        return is_loopback(self.host)

    @property
    def encrypted(self) -> Address:
        """The same server by a scheme that encrypts the connection."""
        return replace(self, scheme=_ENCRYPTED.get(self.scheme, self.scheme))

    @property
    def rest(self) -> Address:
        """The REST address of the same gRPC server, by convention.

        Raises:
            InvalidOptionError: The port is too small for the convention.
        """
        port = self.port - _defaults.REST_PORT_BELOW_GRPC
        if port < 1:
            raise InvalidOptionError(
                f"{self} has no REST port by convention (its own less "
                f"{_defaults.REST_PORT_BELOW_GRPC}): pass metadata_url= or tokenizer=."
            )
        return replace(self, scheme="https" if self.is_secure else "http", port=port)

    def at(self, ip: str) -> Address:
        """Return the address of one of the servers that the name stands for.

        Args:
            ip: One of the IP addresses that the host resolves to.

        Returns:
            The address, whose `authority` is the name.
        """
        scheme = _ROUND_ROBIN.get(self.scheme, self.scheme)
        return replace(self, scheme=scheme, host=ip, authority=self.host)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse an address.

        Args:
            url: A URL, or `host:port`, which means gRPC.

        Returns:
            The address, with the default port where the URL has none.

        Raises:
            InvalidOptionError: The address is not valid, or its scheme is not known.
        """
        if not isinstance(url, str):
            raise InvalidOptionError(
                f"The address {shown(url)} is not a text: pass 'localhost:9000'."
            )
        text = url.strip()
        if _OF_GRPC_ALONE.match(text):
            raise InvalidOptionError(
                f"The address {shown(url)} is in a form of gRPC alone, which names no host: write "
                "host:port, grpc://host:port or dns:///name:port; encrypted, grpcs://host:port or "
                "dnss:///name:port."
            )
        if "://" not in text:
            text = f"grpc://{text}"
        text = _DNS.sub(r"\1://", text)
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise InvalidOptionError(
                f"The address {shown(url)} cannot be read: {error!s:.80}."
            ) from error
        if "@" in parts.netloc:
            # The message leaves the address out: it may hold a password.
            raise InvalidOptionError(
                "The address holds a user name or a password: pass token= or headers= instead."
            )
        if parts.scheme not in _DEFAULT_PORTS:
            raise InvalidOptionError(
                f"The address {shown(url)} begins with {parts.scheme:.20}://, but it has to "
                "be host:port or begin with one of "
                f"{', '.join(f'{name}://' for name in _DEFAULT_PORTS)}."
            )
        try:
            port = parts.port
        except ValueError as error:
            raise InvalidOptionError(
                f"The address {shown(url)} cannot be read: its port has to be a number from 1 to "
                "65535."
            ) from error
        path = parts.path.rstrip("/")
        host = valid_host(parts.hostname or "")
        if not host or port == 0 or parts.query or parts.fragment or not path.isprintable():
            raise InvalidOptionError(
                f"The address {shown(url)} cannot be read: it has to be like localhost:9000 or "
                "http://localhost:8000."
            )
        if path and parts.scheme not in REST_SCHEMES:
            raise InvalidOptionError(
                f"The address {shown(url)} has a path, which is possible with http:// and "
                "https:// only."
            )
        if len(path) > _LONGEST_PATH:
            raise InvalidOptionError(
                f"The path of the address {shown(url)} has {len(path)} characters, of which at "
                f"most {_LONGEST_PATH} are possible."
            )
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)


def valid_host(text: str) -> str | None:
    """Return a host as name servers take it, None where it is not one.

    Args:
        text: A name, in any script, or an IP address, without brackets. `127.1` becomes
            `127.0.0.1`: HTTP clients take short forms, gRPC takes them for names.
    """
    if _IPV4.fullmatch(text):
        with contextlib.suppress(OSError):
            return socket.inet_ntoa(socket.inet_aton(text))
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text)) if text.isascii() else text.encode("idna").decode()
    name = text.removesuffix(".")
    is_name = len(name) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, name.split(".")))
    return text if is_name else None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or its IP address.

    Args:
        host: A name or an IP address, in any form that a connection takes: `127.1` too.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        try:
            ip = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    # A connection to the unspecified address, 0.0.0.0, leads to this machine.
    return ip.is_loopback or ip.is_unspecified
