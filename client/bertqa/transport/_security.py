"""TLS and authentication for the connection to a server."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bertqa._reason import reason_of
from bertqa.errors import InvalidOptionError

_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class TLS:
    """Files in PEM format, for a private certificate authority or for mutual TLS.

    Attributes:
        ca: The certificates to trust instead of the system's.
        certificate: The client's own certificate chain, for mutual TLS.
        key: The private key of `certificate`.

    Raises:
        InvalidOptionError: Only one of `certificate` and `key` is given.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidOptionError("TLS needs certificate= and key= together.")


@dataclass(frozen=True, slots=True, repr=False)
class Security:
    """TLS files, and the headers to send with each call.

    Attributes:
        tls: The TLS files.
        headers: Headers by lower-case name; their values are secrets, which `repr` leaves out.
    """

    tls: TLS = field(default_factory=TLS)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Security(tls={self.tls!r}, headers={sorted(self.headers)} (values hidden))"

    @classmethod
    def of(cls, tls: TLS | None, token: str | None, headers: Mapping[str, str] | None) -> Security:
        """Combine what a user passed.

        Args:
            tls: The TLS files, or None for the system's certificates.
            token: A bearer token, or None.
            headers: More headers, or None; names become lower case, as gRPC requires it.

        Returns:
            The combination.

        Raises:
            InvalidOptionError: The token or a header has characters that cannot be sent.
        """
        merged = {name.lower(): value for name, value in (headers or {}).items()}
        if token is not None:
            merged["authorization"] = f"Bearer {token}"
        for name, value in merged.items():
            if not _HEADER_VALUE.fullmatch(value):
                # The value may be a secret, so that it is not shown.
                raise InvalidOptionError(
                    f"The header {name!r} cannot be sent: its value has to be printable ASCII."
                )
        return cls(tls or TLS(), merged)

    def grpc_credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a gRPC channel.

        Raises:
            InvalidOptionError: A TLS file cannot be read or is not valid.
        """
        if self.tls != TLS():
            self.ssl_context()  # gRPC itself reports a damaged file as a server that is away.
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.tls.ca),
            private_key=_read(self.tls.key),
            certificate_chain=_read(self.tls.certificate),
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context of an HTTP client.

        Raises:
            InvalidOptionError: A TLS file cannot be read or is not valid.
        """
        try:
            context = ssl.create_default_context(cafile=self.tls.ca)
            if self.tls.certificate is not None:
                context.load_cert_chain(self.tls.certificate, self.tls.key, password="")
        except OSError as error:  # ssl.SSLError is one
            files = filter(None, (self.tls.ca, self.tls.certificate, self.tls.key))
            raise InvalidOptionError(
                f"The TLS files {', '.join(map(str, files))} cannot be used: {reason_of(error)}. "
                "Pass files in PEM format, and a key without a password."
            ) from error
        return context


def _read(path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidOptionError(
            f"The TLS file {path} cannot be read: {reason_of(error)}."
        ) from error
