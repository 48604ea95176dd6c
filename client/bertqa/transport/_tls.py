"""TLS: the files of a user, and what is made of them."""

from __future__ import annotations

import codecs
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from bertqa._checks import shown
from bertqa._reason import check_rereadable, reason_of
from bertqa.errors import InvalidOptionError
from bertqa.transport._address import valid_host
from bertqa.transport._trust import default_context, system_certificates, system_context

_FILES = ("ca", "certificate", "key")
_PEM = "Pass a file in PEM format."
_CERTIFICATE, _KEY, _ENCRYPTED = b"CERTIFICATE-----", b"PRIVATE KEY-----", b"ENCRYPTED"


@dataclass(frozen=True, slots=True)
class TLS:
    """How to check a server's certificate, and what to show it.

    Attributes:
        ca: A PEM file with the certificates to trust instead of the system's, which are those of
            OpenSSL, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`, over gRPC as over REST.
        certificate: A PEM file with the client's own certificate chain, for mutual TLS.
        key: A PEM file with the private key of `certificate`.
        server_name: The name that the server's certificate is for, where the address has another
            one, as with `kubectl port-forward`. The server is also called by it.

    Raises:
        InvalidOptionError: Only one of `certificate` and `key` is given, or a value is not valid.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        for name in _FILES:
            path = getattr(self, name)
            if not (path is None or isinstance(path, str | Path)):
                raise InvalidOptionError(
                    f"TLS has {name}={shown(path)}: pass the path of a PEM file."
                )
        if (self.certificate is None) != (self.key is None):
            raise InvalidOptionError("TLS needs certificate= and key= together.")
        given: object = self.server_name
        if given is not None and not _is_name(given):
            raise InvalidOptionError(
                f"TLS has server_name={shown(given)}: pass the name in the server's certificate, "
                "without a scheme or a port."
            )

    @property
    def has_files(self) -> bool:
        """Whether any file is named."""
        return any(getattr(self, name) is not None for name in _FILES)

    def grpc_credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a gRPC channel.

        Raises:
            InvalidOptionError: A file cannot be read or is not valid, also one of the system's.
        """
        self.ssl_context()  # gRPC itself reports a damaged file as a server that is away.
        return grpc.ssl_channel_credentials(
            # gRPC has certificates of its own, which are not those that REST trusts.
            root_certificates=self._read("ca") or system_certificates(),
            private_key=self._read("key"),
            certificate_chain=self._read("certificate"),
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context of an HTTP client.

        Raises:
            InvalidOptionError: A file cannot be read or is not valid, also one of the system's.
        """
        ca, certificate, key = map(self._read, _FILES)
        if ca is not None and _CERTIFICATE not in ca:
            raise self._unusable("ca", "it holds no certificate")
        try:
            context = system_context() if ca is None else default_context(str(self.ca))
        except ssl.SSLError as error:
            raise self._unusable("ca", reason_of(error)) from error
        if certificate is None or key is None:
            return context
        if _CERTIFICATE not in certificate:
            raise self._unusable("certificate", "it holds no certificate")
        if _KEY not in key:
            raise self._unusable("key", "it holds no private key")
        if _ENCRYPTED in key:
            raise self._unusable("key", "it is protected by a password", "Pass one without.")
        try:
            context.load_cert_chain(str(self.certificate), self.key, password="")
        except ssl.SSLError as error:
            if "KEY_VALUES_MISMATCH" in str(error) or "TYPE_MISMATCH" in str(error):
                fault = f"it is not the key of the certificate {self.certificate}"
                raise self._unusable("key", fault, "Pass the two that belong together.") from error
            fault = f"with the certificate {self.certificate}, {reason_of(error)}"
            raise self._unusable("key", fault) from error
        return context

    def _read(self, name: str) -> bytes | None:
        path = getattr(self, name)
        if path is None:
            return None
        try:
            check_rereadable(Path(path))
            content = Path(path).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: the path has a null character
            raise InvalidOptionError(
                f"{path}, passed as {name}= of TLS, cannot be read: {reason_of(error)}."
            ) from error
        # That of an editor, or of files that were joined: gRPC sees no certificate behind one.
        return content.replace(codecs.BOM_UTF8, b"")

    def _unusable(self, name: str, fault: str, what_to_do: str = _PEM) -> InvalidOptionError:
        path = getattr(self, name)
        return InvalidOptionError(
            f"{path}, passed as {name}= of TLS, cannot be used: {fault}. {what_to_do}"
        )


def _is_name(given: object) -> bool:
    return isinstance(given, str) and given.isascii() and valid_host(given) is not None
