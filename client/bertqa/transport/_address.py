"""Parsing the address of a server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from bertqa import _defaults
from bertqa.errors import InvalidOptionError

REST_SCHEMES = ("http", "https")
TFS_SCHEMES = ("tfs", "tfss")

_DEFAULT_PORTS = {
    "grpc": _defaults.GRPC_PORT,
    "grpcs": _defaults.GRPC_PORT,
    "dns": _defaults.GRPC_PORT,
    "tfs": _defaults.GRPC_PORT,
    "tfss": _defaults.GRPC_PORT,
    "http": _defaults.REST_PORT,
    "https": _defaults.REST_PORT,
}
_REST_SCHEME = {"grpc": "http", "dns": "http", "tfs": "http", "grpcs": "https", "tfss": "https"}


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
        slashes = ":///" if self.scheme == "dns" else "://"
        return f"{self.scheme}{slashes}{self.location}{self.path}"

    @property
    def location(self) -> str:
        """The address as `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("grpcs", "tfss", "https")

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
        return replace(self, scheme=_REST_SCHEME[self.scheme], port=port)

    def at(self, ip: str) -> Address:
        """Return the address of one of the servers that the name stands for.

        Args:
            ip: One of the IP addresses that the host resolves to.

        Returns:
            The address, whose `authority` is the name.
        """
        scheme = "grpc" if self.scheme == "dns" else self.scheme
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
        text = url.strip()
        if "://" not in text:
            text = f"grpc://{text}"
        text = text.replace("dns:///", "dns://", 1)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise InvalidOptionError(f"The address {url!r} cannot be read: {error}.") from error
        if "@" in parts.netloc:
            # The message leaves the address out: it may hold a password.
            raise InvalidOptionError(
                "The address holds a user name or a password: pass token= or headers= instead."
            )
        if parts.scheme not in _DEFAULT_PORTS:
            raise InvalidOptionError(
                f"The address {url!r} begins with {parts.scheme}://, but it has to be host:port or "
                f"begin with one of {', '.join(f'{name}://' for name in _DEFAULT_PORTS)}."
            )
        path = parts.path.rstrip("/")
        if not parts.hostname or parts.query or parts.fragment:
            raise InvalidOptionError(
                f"The address {url!r} cannot be read: it has to be like localhost:9000 or "
                "http://localhost:8000."
            )
        if path and parts.scheme not in REST_SCHEMES:
            raise InvalidOptionError(
                f"The address {url!r} has a path, which is possible with http:// and https:// only."
            )
        return cls(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], path)
