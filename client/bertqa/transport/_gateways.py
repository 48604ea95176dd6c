"""What a gateway answers in place of the server behind it."""

from __future__ import annotations

import html
import re

from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ProtocolError,
    ServerOverloadedError,
    ServerUnreachableError,
)

_BAD_GATEWAY, _UNAVAILABLE, _TIMEOUT = 502, 503, 504
# Those above 504 are Cloudflare's.
_TIMEOUTS = (_TIMEOUT, 522, 524)
_STATUSES = (_BAD_GATEWAY, _UNAVAILABLE, *_TIMEOUTS, 520, 521, 523, 525, 526, 530)
_REDIRECTS = (300, 301, 302, 303, 305, 307, 308)
# Of Envoy and Istio, of Traefik, Kubernetes and Kong; and of those that send a page.
_WORDS = re.compile(
    r"(?i)no healthy upstream|upstream (connect error|request timeout)|no available server|"
    r"no endpoints available|failure to get a peer from|"
    r"^\s*(<!doctype|<html|<head|<body|<h1|<\?xml)|^\s*(service unavailable|bad gateway)\s*$"
)
# gRPC's words for an answer that is not gRPC's.
_GRPC_STATUS = re.compile(r"(?i)http2 header with status: ([0-9]{3})")
_TAG = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>")
_LONGEST_WORDS = 200


def gateway_error(
    address: str, status: int, text: str, *, location: str | None = None, waits: bool = False
) -> BertQAError | None:
    """Return the error for an HTTP response that a gateway sent, None where it may be the server's.

    Args:
        address: The address that was called.
        status: The status of the response.
        text: Its body.
        location: Its header `Location`, where there is one.
        waits: Whether it asks to wait, by its header `Retry-After`.
    """
    if status in _REDIRECTS:
        where = "without naming another address" if location is None else f"to {words_of(location)}"
        return ProtocolError(
            f"{address} redirects {where} (status {status}): pass that address, or a token where "
            "it is one for signing in.",
            detail=text,
        )
    if status not in _STATUSES or (status == _UNAVAILABLE and not _WORDS.search(text)):
        return None
    words = words_of(text)
    says = f"status {status}" + (f" ({words})" if words else "")
    if status in _TIMEOUTS:
        return _timeout(address, f"{says}", text)
    if waits:
        return ServerOverloadedError(_away(address, says), detail=text)
    return ServerUnreachableError(_away(address, says), detail=text)


def gateway_error_in_grpc(address: str, code: str, detail: str) -> BertQAError | None:
    """Return the error for a gRPC status that stands for a gateway's answer, None otherwise.

    Args:
        address: The address that was called.
        code: The name of the status code.
        detail: Its text: what the gateway said, or what gRPC says about it.
    """
    found = _GRPC_STATUS.search(detail)
    if found is not None:
        return gateway_error(address, int(found[1]), detail) or (
            ServerUnreachableError(_away(address, f"status {found[1]}"), detail=detail)
            if code == "UNAVAILABLE"
            else None
        )
    if code != "UNAVAILABLE" or not _WORDS.search(detail):
        return None
    words = words_of(detail)
    if "upstream request timeout" in words:
        return _timeout(address, words, detail)
    return ServerUnreachableError(_away(address, words), detail=detail)


def _away(address: str, says: str) -> str:
    return (
        f"A gateway at {address} answered with {says}, and not the server behind it: is that "
        "server running and ready?"
    )


def _timeout(address: str, says: str, detail: str) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"A gateway at {address} answered with {says}: the server behind it did not answer in the "
        "time that the gateway allows. Raise that, or send less at once.",
        detail=detail,
    )


def words_of(text: str) -> str:
    """Return a text in one short line, without the tags of a page.

    Args:
        text: What a server sent.
    """
    line = " ".join(html.unescape(_TAG.sub(" ", text)).split())
    clean = "".join(each for each in line if each.isprintable())
    return clean if len(clean) <= _LONGEST_WORDS else f"{clean[:_LONGEST_WORDS]}..."
