"""How a server is to be trusted, and how it is told who asks."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bertqa.errors import InvalidOptionError


@dataclass(frozen=True, slots=True)
class TLS:
    """Files in PEM format for a server whose certificate is no public one, or that wants ours.

    `ca` holds the certificates to trust, in place of the system's; `certificate` and `key` are
    the client's own, for mutual TLS.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidOptionError("TLS needs certificate= and key= together.")


@dataclass(frozen=True, slots=True)
class Security:
    """What a transport needs for a connection: TLS files, and headers to send with each call."""

    tls: TLS = field(default_factory=TLS)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tls: TLS | None, token: str | None, headers: Mapping[str, str] | None) -> Security:
        """Put together what a user gave; header names are lower case, as gRPC wants them."""
        merged = {name.lower(): value for name, value in (headers or {}).items()}
        if token is not None:
            merged["authorization"] = f"Bearer {token}"
        return cls(tls or TLS(), merged)

    def grpc_credentials(self) -> grpc.ChannelCredentials:
        """Return credentials for a gRPC channel. Raises InvalidOptionError for unreadable files."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.tls.ca),
            private_key=_read(self.tls.key),
            certificate_chain=_read(self.tls.certificate),
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Return the same for HTTPS. Raises InvalidOptionError for unreadable files."""
        try:
            context = ssl.create_default_context(cafile=self.tls.ca)
            if self.tls.certificate is not None:
                context.load_cert_chain(self.tls.certificate, self.tls.key)
        except OSError as error:  # ssl.SSLError is one
            raise InvalidOptionError(f"The TLS files cannot be used: {error}.") from error
        return context


def _read(path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidOptionError(f"The TLS file {path} cannot be read: {error}.") from error
