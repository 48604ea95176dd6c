"""Faults of certificates and of TLS, which look alike on both protocols."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time

from bertqa import _defaults
from bertqa.errors import CertificateError, ServerUnreachableError
from bertqa.transport._address import REST_SCHEMES, Address
from bertqa.transport._handshake import Handshake
from bertqa.transport._security import Security

# TLS 1.3 reports what is wrong with a client's certificate after the handshake.
_ALERT_SECONDS = 0.5
_HTTP_2 = "h2"

_OTHER_NAME = (
    "The certificate of {address} is for another name. If it is the right server, pass the name in "
    "its certificate as server_name= of TLS."
)
_EXPIRED = (
    "The certificate of {address} has expired: it has to be renewed, or the clock of this machine "
    "is wrong."
)
_TOO_EARLY = "The certificate of {address} is not valid yet: is the clock of this machine wrong?"
_UNTRUSTED = (
    "The certificate of {address} is not trusted: pass the certificate of its authority as ca= of "
    "TLS."
)
_OF_CLIENT = (
    "{address} requires a client's certificate that it trusts: pass certificate= and key= of TLS."
)
_ENDED = (
    "{address} ended the connection right after the TLS handshake: it may require a client's "
    "certificate that it trusts (certificate= and key= of TLS), or the server behind it is away."
)
_REFUSED = (
    "{address} refused the TLS handshake: it accepts no TLS version or cipher of this client, or "
    "requires a client's certificate that it trusts (certificate= and key= of TLS)."
)
_NO_AGREEMENT = "{address} accepts no TLS version or cipher of this client."
_PLAIN = "{address} does not speak TLS: is it a port without encryption?"
_TLS_ONLY = "{address} speaks TLS alone: write {encrypted}."
_NOT_GRPC = "{address} speaks TLS, but not gRPC over it: is it the port of the REST API?"
_FAILED = "The TLS handshake with {address} failed."

# The words of OpenSSL, which Python has, and of BoringSSL, which gRPC has; some of web servers.
_FAULTS: tuple[tuple[str, str | None], ...] = (
    # A server that is not up yet behind a relay looks like this, too.
    (r"unexpected[_ ]eof|EOF occurred", None),
    (r"hostname verification check failed|hostname mismatch|IP address mismatch", _OTHER_NAME),
    (r"alert[_ ]unrecognized[_ ]name", _OTHER_NAME),
    (r"alert[_ ](unknown[_ ]ca|bad[_ ]certificate|(unsupported[_ ])?certificate)", _OF_CLIENT),
    (r"alert[_ ]access[_ ]denied", _OF_CLIENT),
    (r"alert[_ ]handshake[_ ]failure", _REFUSED),
    (r"protocol[_ ]version|unsupported[_ ]protocol|insufficient[_ ]security", _NO_AGREEMENT),
    (r"certificate[_ ]required|no required ssl certificate|ssl certificate error", _OF_CLIENT),
    (r"certificate has expired", _EXPIRED),
    (r"certificate is not yet valid", _TOO_EARLY),
    (r"certificate[_ ]verify[_ ]failed", _UNTRUSTED),
    (r"http request (was sent )?to (an )?https (port|server)|\\x15\\x03", _TLS_ONLY),
    (r"wrong[_ ]version[_ ]number|record layer failure|http_request|unknown_protocol", _PLAIN),
    (r"packet length too long", _PLAIN),
    (r"missing selected ALPN|no[_ ]application[_ ]protocol", _NOT_GRPC),
    (r"\[SSL\b|SSL_ERROR_SSL|TSI_PROTOCOL_FAILURE|(tls|ssl) handshake failed", _FAILED),
)
# What servers say for two reasons, of which one handshake of our own shows the right one.
_UNSURE = re.compile(r"(?i)alert[_ ]handshake[_ ]failure")
# What it is not: of several addresses of a name, gRPC reports the last one that it tried.
_NOT_TLS = re.compile(r"(?i)lookup|resolv")


def certificate_error(address: str, detail: str) -> CertificateError | None:
    """Return the error where what a library says is a fault of TLS, None otherwise.

    Args:
        address: The address that was called.
        detail: The text of the library, which the error keeps.
    """
    for pattern, sentence in _FAULTS:
        if re.search(pattern, detail, re.IGNORECASE):
            return None if sentence is None else _error(address, sentence, detail)
    return None


def is_explained(address: Address, *, is_first: bool, is_last: bool) -> bool:
    """Return whether to look for the reason of a failure by a handshake of our own.

    At the first failure it leaves no doubt only where a server speaks TLS at an address without.

    Args:
        address: The address that was called.
        is_first: Whether it is the first failure at a server that never answered.
        is_last: Whether the call is not made again.
    """
    return is_last or (is_first and not address.is_secure)


async def async_raise_explained(
    error: ServerUnreachableError, address: Address, security: Security, deadline: float
) -> None:
    """Raise a failure as what it is, where one TLS handshake of our own can show that.

    Args:
        error: The failure of a first call, which went without a proxy.
        address: The address that was called.
        security: What it was called with.
        deadline: A time of `time.monotonic()` for the handshake, too.

    Raises:
        CertificateError: It was TLS that failed.
    """
    if _may_be_of_tls(error):
        await asyncio.to_thread(sync_raise_explained, error, address, security, deadline)


def sync_raise_explained(
    error: ServerUnreachableError, address: Address, security: Security, deadline: float
) -> None:
    """Raise a failure as what it is; see `async_raise_explained`."""
    seconds = min(deadline - time.monotonic(), _defaults.PROBE_SECONDS)
    if seconds <= 0 or not _may_be_of_tls(error):
        return
    fault: CertificateError | None = None
    if address.is_secure:
        fault = _fault_of_handshake(address, security, seconds)
    elif _speaks_tls(address, seconds):
        fault = _error(str(address), _TLS_ONLY, error.detail or "")
    if fault is not None:
        raise fault from error


def _may_be_of_tls(error: ServerUnreachableError) -> bool:
    detail = error.detail or ""
    is_known = isinstance(error, CertificateError) and _UNSURE.search(detail) is None
    return not is_known and _NOT_TLS.search(detail) is None


def _error(address: str, sentence: str, detail: str) -> CertificateError:
    scheme, _, rest = address.partition("://")
    encrypted = f"{scheme}s://{rest}"
    return CertificateError(sentence.format(address=address, encrypted=encrypted), detail=detail)


def _fault_of_handshake(
    address: Address, security: Security, seconds: float
) -> CertificateError | None:
    context = security.ssl_context()
    is_grpc = address.scheme not in REST_SCHEMES
    if is_grpc:
        context.set_alpn_protocols([_HTTP_2])
    name = security.server_name or address.authority or address.host
    handshake: Handshake | None = None
    try:
        with socket.create_connection((address.host, address.port), seconds) as connection:
            handshake = Handshake(connection, context, name)
            handshake.run()
            if is_grpc and handshake.protocol != _HTTP_2:
                return _error(str(address), _NOT_GRPC, "")
            connection.settimeout(_ALERT_SECONDS)
            handshake.read()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError):
        if handshake is None or not (handshake.is_done or handshake.asks_for_certificate):
            return None
        return _error(str(address), _ENDED if handshake.is_done else _OF_CLIENT, "")
    except ssl.SSLError as error:
        detail = str(error)
        if handshake is None or not _UNSURE.search(detail):
            return certificate_error(str(address), detail)
        is_of_client = handshake.is_done or handshake.asks_for_certificate
        return _error(str(address), _OF_CLIENT if is_of_client else _NO_AGREEMENT, detail)
    except (OSError, ValueError):  # ValueError: the name is not one of a server
        return None
    return None


def _speaks_tls(address: Address, seconds: float) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address.host, address.port), seconds) as connection,
            context.wrap_socket(connection, server_hostname=address.authority or address.host),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in str(error)
    except (OSError, ValueError):
        return False
