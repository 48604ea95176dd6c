"""Parsing the address of a server."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import idna

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
_ONE_SLASH = re.compile(r"(?i)(grpcs?|tfss?|https?):/(?!/).")
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"[0-9A-Za-z_-]{1,63}")
_IN_OTHER_SCRIPTS = "xn--"
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
        return leads_to_loopback(self.host)

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
        # What is before an @ may be a password.
        named = "The address" if "@" in text else f"The address {shown(url)}"
        if _OF_GRPC_ALONE.match(text):
            raise InvalidOptionError(
                f"{named} is in a form of gRPC alone, which names no host: write host:port, "
                "grpc://host:port or dns:///name:port; encrypted, grpcs://host:port or "
                "dnss:///name:port."
            )
        one_slash = _ONE_SLASH.match(text)
        if one_slash is not None:
            raise InvalidOptionError(
                f"{named} has one slash behind {one_slash[1]}:, and needs two: write "
                f"{one_slash[1]}://localhost, say."
            )
        if _PORT.fullmatch(text):
            raise InvalidOptionError(
                f"{named} is the number of a port, and names no host: write localhost:{text}."
            )
        if "://" not in text:
            text = f"grpc://{text}"
        text = _DNS.sub(r"\1://", text)
        if "@" in text.partition("://")[2].partition("/")[0]:
            raise InvalidOptionError(
                "The address holds a user name or a password: pass token= or headers= instead."
            )
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise InvalidOptionError(f"{named} cannot be read: {error!s:.80}.") from error
        if parts.scheme not in _DEFAULT_PORTS:
            raise InvalidOptionError(
                f"{named} begins with {parts.scheme:.20}://, but it has to be host:port or begin "
                f"with one of {', '.join(f'{name}://' for name in _DEFAULT_PORTS)}."
            )
        try:
            port = parts.port
            if port == 0:
                raise ValueError
        except ValueError as error:
            raise InvalidOptionError(
                f"{named} cannot be read: its port has to be a number from 1 to 65535."
            ) from error
        path = parts.path.rstrip("/")
        host = valid_host(parts.hostname or "")
        if not host and parts.hostname:
            raise InvalidOptionError(
                f"{named} cannot be read: {shown(parts.hostname)} is neither the name of a host "
                "nor an IP address."
            )
        if not host or parts.query or parts.fragment or not path.isprintable():
            raise InvalidOptionError(
                f"{named} cannot be read: it has to be like localhost:9000 or http://localhost:8000."
            )
        if path and parts.scheme not in REST_SCHEMES:
            raise InvalidOptionError(
                f"{named} has a path, which is possible with http:// and https:// only."
            )
        if len(path) > _LONGEST_PATH:
            raise InvalidOptionError(
                f"{named} has a path of {len(path)} characters, of which at most {_LONGEST_PATH} "
                "are possible."
            )
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)


def valid_host(text: str) -> str | None:
    """Return a host as name servers take it, None where it is not one.

    Args:
        text: A name, in any script, or an IP address, without brackets. `127.1` becomes
            `127.0.0.1`: HTTP clients take short forms, gRPC takes them for names.
    """
    try:
        if not text.isascii():
            text = idna.encode(text, uts46=True).decode()
        if _IPV4.fullmatch(text):
            with contextlib.suppress(OSError):
                return socket.inet_ntoa(socket.inet_aton(text))
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(text))
        name = text.removesuffix(".")
        labels = name.split(".")
        for label in labels:
            if label.lower().startswith(_IN_OTHER_SCRIPTS):
                idna.decode(label)  # HTTP clients do, and end in errors of their own.
    except UnicodeError:  # An IDNAError is one.
        return None
    return text if len(name) <= _LONGEST_NAME and all(map(_LABEL.fullmatch, labels)) else None


def is_authority(text: str) -> bool:
    """Return whether a text can be the header `Host`: a host in ASCII, with or without a port."""
    try:
        parts = urlsplit(f"//{text}")
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return False
    is_whole = parts.netloc == text and text.isascii() and "@" not in text
    return is_whole and port != 0 and valid_host(host) is not None


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or its IP address.

    Who listens there is heard by this machine alone.

    Args:
        host: A name or an IP address, in any form that a connection takes: `127.1` too.
    """
    if _is_localhost(host):
        return True
    ip = _ip_of(host)
    return ip is not None and ip.is_loopback


def parsed_metadata_url(metadata_url: str) -> Address:
    """Return the REST address that describes a model.

    Args:
        metadata_url: The address, with its scheme.

    Raises:
        InvalidOptionError: It cannot be read, or its scheme is neither http nor https.
    """
    address = Address.parse(metadata_url)
    if address.scheme not in REST_SCHEMES:
        raise InvalidOptionError(
            f"metadata_url is {shown(metadata_url)}, but it has to begin with http:// or https://."
        )
    return address


def leads_to_loopback(host: str) -> bool:
    """Return whether a connection to a host leads to this machine.

    That is a loopback host, or the unspecified address: `0.0.0.0` or `::`.

    Args:
        host: A name or an IP address, in any form that a connection takes.
    """
    ip = _ip_of(host)
    return is_loopback(host) or (ip is not None and ip.is_unspecified)


def _is_localhost(host: str) -> bool:
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        if not _IPV4.fullmatch(host):  # inet_aton ignores what comes behind a space.
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
