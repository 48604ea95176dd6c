"""TLS and authentication for the connection to a server."""

from __future__ import annotations

import inspect
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from bertqa._reason import reason_of
from bertqa.errors import AccessDeniedError, BertQAError, InvalidOptionError
from bertqa.transport._call_headers import CALL_HEADERS

Token = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or what returns the one of now: called for each request."""

# What gRPC allows, which is a part of what HTTP allows.
_HEADER_NAME = re.compile(r"[0-9a-z_.-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
_TOKEN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OF_THE_PROTOCOL = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "inference-header-content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_AUTHORIZATION = "authorization"
_FILES = ("ca", "certificate", "key")


@dataclass(frozen=True, slots=True)
class TLS:
    """How to check a server's certificate, and what to show it.

    Attributes:
        ca: A PEM file with the certificates to trust instead of the system's.
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
                raise InvalidOptionError(f"TLS has {name}={path!r}: pass the path of a PEM file.")
        if (self.certificate is None) != (self.key is None):
            raise InvalidOptionError("TLS needs certificate= and key= together.")
        if self.server_name is not None:
            _check_server_name(self.server_name)


@dataclass(frozen=True, slots=True, repr=False)
class Security:
    """TLS, and what to send with each call.

    Attributes:
        tls: How to check and what to show; None where nothing was asked for.
        headers: Headers by lower-case name; their values are secrets, which `repr` leaves out.
        token: A bearer token, or what returns one.
    """

    tls: TLS | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None

    def __repr__(self) -> str:
        token = "" if self.token is None else ", token=(hidden)"
        return f"Security(tls={self.tls!r}, headers={sorted(self.headers)} (values hidden){token})"

    @classmethod
    def of(
        cls,
        tls: TLS | None = None,
        token: Token | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Security:
        """Combine what a user passed.

        Args:
            tls: TLS files and the server's name, or None for the system's certificates.
            token: A bearer token, or what returns the one of now, or None. It may return an
                awaitable where the client is asynchronous. One newline at the end is left out.
            headers: More headers, or None; names become lower case, as gRPC requires it. `Host`
                is the name by which the server is called, over gRPC too.

        Returns:
            The combination.

        Raises:
            InvalidOptionError: The token or a header cannot be sent; the message names it, and does
                not show its value.
        """
        if not (tls is None or isinstance(tls, TLS)):
            raise InvalidOptionError(f"tls= is a {type(tls).__name__}: pass bertqa.TLS(...).")
        checked = _checked_headers(headers)
        if token is not None:
            if _AUTHORIZATION in checked:
                raise InvalidOptionError(
                    "Pass token= or the header 'authorization', and not both: token= is sent as it."
                )
            if not callable(token):
                token = _checked_token(token)
        return cls(tls, checked, token)

    @property
    def server_name(self) -> str | None:
        """The name that the server's certificate is for, where that is not the address's."""
        return None if self.tls is None else self.tls.server_name

    async def async_headers(self) -> dict[str, str]:
        """Return the headers of one call, with the token of now and those of this call alone.

        Raises:
            BertQAError: The token cannot be had, or cannot be sent.
        """
        token = self._current_token()
        if inspect.isawaitable(token):
            try:
                token = await token
            except Exception as error:
                raise _no_token(error) from error
        return self._with_token(token)

    def sync_headers(self) -> dict[str, str]:
        """Return the headers of one call, with the token of now and those of this call alone.

        Raises:
            BertQAError: The token cannot be had, or cannot be sent.
        """
        token = self._current_token()
        if inspect.isawaitable(token):
            if inspect.iscoroutine(token):
                token.close()
            raise InvalidOptionError(
                "token= returns an awaitable, which AsyncQAClient alone can wait for: pass a "
                "function that returns the token itself."
            )
        return self._with_token(token)

    def _current_token(self) -> object:
        if not callable(self.token):
            return self.token
        try:
            return self.token()
        except Exception as error:
            raise _no_token(error) from error

    def _with_token(self, token: object) -> dict[str, str]:
        if self.token is None:
            return {**self.headers, **CALL_HEADERS.get()}
        authorization = f"Bearer {_checked_token(token)}"
        return {**self.headers, _AUTHORIZATION: authorization, **CALL_HEADERS.get()}

    def grpc_credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a gRPC channel.

        Raises:
            InvalidOptionError: A TLS file cannot be read or is not valid.
        """
        tls = self.tls or TLS()
        if tls != TLS():
            self.ssl_context()  # gRPC itself reports a damaged file as a server that is away.
        return grpc.ssl_channel_credentials(
            root_certificates=_read(tls.ca),
            private_key=_read(tls.key),
            certificate_chain=_read(tls.certificate),
        )

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context of an HTTP client.

        Raises:
            InvalidOptionError: A TLS file cannot be read or is not valid.
        """
        tls = self.tls or TLS()
        try:
            context = ssl.create_default_context(cafile=tls.ca)
            if tls.certificate is not None:
                context.load_cert_chain(tls.certificate, tls.key, password="")
        except OSError as error:  # ssl.SSLError is one
            files = filter(None, (tls.ca, tls.certificate, tls.key))
            raise InvalidOptionError(
                f"The TLS files {', '.join(map(str, files))} cannot be used: {reason_of(error)}. "
                "Pass files in PEM format, and a key without a password."
            ) from error
        return context


def _checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers by lower-case name.

    Raises:
        InvalidOptionError: A header cannot be sent.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidOptionError(
            f"headers= is a {type(headers).__name__}: pass a mapping from names to values."
        )
    checked: dict[str, str] = {}
    for given, value in headers.items():
        name = given.lower() if isinstance(given, str) else ""
        fault = _fault_of(name, value)
        if name in checked:
            fault = "it is given twice"
        if fault is not None:
            # The value may be a secret, so that it is not shown.
            raise InvalidOptionError(f"The header {given!r} cannot be sent: {fault}.")
        checked[name] = value
    return checked


def _fault_of(name: str, value: object) -> str | None:
    """Return why a header cannot be sent, None where it can."""
    if name.startswith(":"):
        return "names with a colon belong to HTTP/2 itself (for ':authority', pass 'Host')"
    if not _HEADER_NAME.fullmatch(name):
        return "its name has to be of ASCII letters, digits, '-', '_' and '.'"
    if name.startswith("grpc-"):
        return "names that begin with 'grpc-' belong to gRPC itself"
    if name.endswith("-bin"):
        return "names that end in '-bin' are for binary values, which gRPC alone has"
    if name in _OF_THE_PROTOCOL:
        return "it belongs to the protocol, which sets it by itself"
    if not isinstance(value, str):
        return f"its value is a {type(value).__name__}, and has to be a text"
    if not _HEADER_VALUE.fullmatch(value):
        return "its value has to be printable ASCII, without spaces around it"
    if name == "host" and not value:
        return "its value is empty"
    return None


def _checked_token(token: object) -> str:
    """Return a token without the one newline that files end with.

    Raises:
        InvalidOptionError: The token cannot be sent.
    """
    if not isinstance(token, str):
        raise InvalidOptionError(
            f"token= is a {type(token).__name__}: it has to be a text, or return one."
        )
    text = token.removesuffix("\n").removesuffix("\r") if token.endswith("\n") else token
    if not _TOKEN.fullmatch(text):
        raise InvalidOptionError(
            "The header 'authorization' cannot be sent: token= has to be printable ASCII, not "
            "empty, and without spaces or more than one newline around it."
        )
    return text


def _no_token(error: Exception) -> BertQAError:
    """Return the error for a token that could not be had."""
    if isinstance(error, BertQAError):
        return error
    return AccessDeniedError(
        f"There is no token to send: token= raised {type(error).__name__}: {error}.",
        detail=str(error),
    )


def _check_server_name(name: object) -> None:
    fits = isinstance(name, str) and re.fullmatch(r"[0-9A-Za-z_.:-]+", name)
    if not fits:
        raise InvalidOptionError(
            f"TLS has server_name={name!r}: pass the name in the server's certificate, without a "
            "scheme or a port."
        )


def _read(path: str | Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidOptionError(
            f"The TLS file {path} cannot be read: {reason_of(error)}."
        ) from error
