"""Which headers and tokens can be sent, over gRPC as over HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bertqa._checks import items, shown
from bertqa.errors import InvalidOptionError
from bertqa.transport._address import is_authority

# What gRPC allows, which is a part of what HTTP allows.
_HEADER_NAME = re.compile(r"[0-9a-z_.-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
_TOKEN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# OVMS 2026.4.0 took a header of 81,940 characters over REST, and refused one of 81,988.
_LARGEST = 64 * 1024
_OF_THE_PROTOCOL = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "http2-settings",
        "inference-header-content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers by lower-case name.

    Raises:
        InvalidOptionError: A header cannot be sent.
    """
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidOptionError(
            f"headers= is of type {type(headers).__name__}: pass a mapping from names to values."
        )
    checked: dict[str, str] = {}
    for given, value in items("headers=", headers):
        name = given.lower() if isinstance(given, str) else ""
        fault = fault_of_header(name, value)
        if name in checked:
            fault = "it is given twice"
        if fault is not None:
            # The value may be a secret, so that it is not shown.
            raise InvalidOptionError(f"The header {shown(given)} cannot be sent: {fault}.")
        checked[name] = value
    return checked


def fault_of_header(name: str, value: object) -> str | None:
    """Return why a header cannot be sent, None where it can.

    Args:
        name: The header's name, in lower case.
        value: Its value.
    """
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
        return f"its value is of type {type(value).__name__}, and has to be a text"
    if not _HEADER_VALUE.fullmatch(value):
        return "its value has to be printable ASCII, without spaces around it"
    if name == "host" and not is_authority(value):
        return "its value has to be the name of a host, with or without a port"
    return None


def check_size(headers: Mapping[str, str]) -> None:
    """Check that the headers of a call are not too large for servers.

    Args:
        headers: The headers by name.

    Raises:
        InvalidOptionError: They are, over REST as over gRPC, where a server's own limit is lower.
    """
    size = sum(len(name) + len(value) for name, value in headers.items())
    if size > _LARGEST:
        raise InvalidOptionError(
            f"The headers of a call, of headers= and token=, have {size} characters together, of "
            f"which {_LARGEST} at most are sent, because servers refuse more: pass fewer or "
            "shorter ones."
        )


def checked_token(token: object) -> str:
    """Return a token without the one newline that files end with.

    Raises:
        InvalidOptionError: The token cannot be sent.
    """
    if not isinstance(token, str):
        raise InvalidOptionError(
            f"token= is of type {type(token).__name__}: it has to be a text, or return one."
        )
    text = token.removesuffix("\n").removesuffix("\r") if token.endswith("\n") else token
    if not _TOKEN.fullmatch(text):
        raise InvalidOptionError(
            "The header 'authorization' cannot be sent: token= has to be printable ASCII, not "
            "empty, and without spaces or more than one newline around it."
        )
    return text
