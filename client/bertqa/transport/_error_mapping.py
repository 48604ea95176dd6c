"""From the refusal of a server to an error that says what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bertqa.errors import (
    AccessDeniedError,
    BertQAError,
    DeadlineExceededError,
    InvalidOptionError,
    ModelNotFoundError,
    ModelNotReadyError,
    ProtocolError,
    RequestTooLargeError,
    ServerOverloadedError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport._address import TFS_SCHEMES
from bertqa.transport._certificates import certificate_error
from bertqa.transport._gateways import gateway_error, gateway_error_in_grpc, words_of
from bertqa.transport._proxies import Proxy, proxy_error, proxy_requires_authentication

# OVMS answers with 404 over REST what it calls UNAVAILABLE over gRPC.
_GRPC_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    503: "RESOURCE_EXHAUSTED",
}

_NO_SUCH_MODEL = re.compile(r"(?i)(model|pipeline|graph definition) with requested name")
_NOT_READY = re.compile(r"(?i)not loaded yet|is loading|not ready")
_NO_ROOM = re.compile(
    r"RST_STREAM with error code 7\b|REFUSED_STREAM|http2 header with status: 429"
)
# gRPC has one code for a lack of room, which passes, and for what is too large, which does not.
_TOO_LARGE = re.compile(
    r"(?i)message larger than max|body is larger than|http2 header with status: 413"
)
# Of gRPC, and of HTTP servers with status 400 or 494.
_HEADERS_TOO_LARGE = re.compile(
    r"(?i)metadata size exceeds|header (or cookie |fields? )?too large|"
    r"http2 header with status: 431"
)
# What the library says without calling the server.
_NO_CHANNEL = "Failed to create channel"
_OF_INPUTS = re.compile(r"(?i)\b(inputs?|shapes?|tensors?|precision)\b")
# What OVMS answers with status 400 where no API has the path.
_NO_SUCH_PATH = "Invalid request URL"
_BAD_REQUEST = 400
_REQUEST_ENTITY_TOO_LARGE = 413
_REQUEST_HEADER_FIELDS_TOO_LARGE = 431
_PROXY_AUTHENTICATION = 407
_HTTP_1 = re.compile(r"(?i)http1\.x server")
# A proxy may be at fault for these, in place of the server.
_OF_THE_WAY = (
    AccessDeniedError,
    DeadlineExceededError,
    ProtocolError,
    ServerOverloadedError,
    ServerUnreachableError,
)

_ERRORS: dict[str, tuple[type[BertQAError], str]] = {
    "UNAVAILABLE": (
        ServerUnreachableError,
        "Cannot connect to {address}: is the server running, and is this its address?",
    ),
    "CANCELLED": (ServerUnreachableError, "The connection to {address} was closed."),
    "DEADLINE_EXCEEDED": (
        DeadlineExceededError,
        "{address} did not answer in time: is it away or busy? Pass a greater timeout=.",
    ),
    "RESOURCE_EXHAUSTED": (
        ServerOverloadedError,
        "{address} has no room for the request now: try again later, with fewer at once.",
    ),
    "INVALID_ARGUMENT": (ProtocolError, "{address} refuses the request{reason}."),
    "UNIMPLEMENTED": (ProtocolError, "{address} does not speak {protocol}."),
}


_BLAMES_ADDRESS = "_blames_address"


def blaming_address(error: BertQAError) -> BertQAError:
    """Return an error, marked as one whose address may be that of another server or of none.

    Args:
        error: The error, not raised.
    """
    setattr(error, _BLAMES_ADDRESS, True)
    return error


def blames_address(error: BertQAError) -> bool:
    """Return whether an error is marked by `blaming_address`.

    Args:
        error: The error.
    """
    return getattr(error, _BLAMES_ADDRESS, False)


@dataclass(frozen=True, slots=True)
class ErrorMapper:
    """Maps the failure of one call to an error of this project.

    Attributes:
        address: The address that was called.
        model: The model that was requested.
        version: The version that was requested; None is the server's default.
        proxy: The proxy of the environment that was called in between, which messages name.
        has_credentials: Whether a token, or a header `Authorization`, was sent.
    """

    address: str
    model: str
    version: int | None
    proxy: Proxy | None = None
    has_credentials: bool = False

    def from_grpc(self, code: str, detail: str) -> BertQAError:
        """Return the error for the status of a gRPC call.

        Args:
            code: The name of the status code.
            detail: The server's own text, which the error keeps.

        Returns:
            The error, not raised.
        """
        return self.of_the_way(self._from_grpc(code, detail))

    def _from_grpc(self, code: str, detail: str) -> BertQAError:
        model = f"the model {self.model!r}"
        version = f"version {self.version} of {model}"
        if _NO_SUCH_MODEL.search(detail):
            return ModelNotFoundError(
                f"{self.address} does not serve {model}: look for its name in the server's "
                "config.json, or pass another model=.",
                detail=detail,
            )
        if _NOT_READY.search(detail):
            return ModelNotReadyError(
                f"{self.address} has not loaded {model if self.version is None else version}: "
                "it is loading, or could not be loaded. The server's log says which.",
                detail=detail,
            )
        if _NO_CHANNEL in detail:
            return InvalidOptionError(
                f"A gRPC channel to {self.address} cannot be opened with these channel_options=: "
                f"{words_of(detail)}.",
                detail=detail,
            )
        if _HEADERS_TOO_LARGE.search(detail):
            return self._headers_too_large(detail)
        if _TOO_LARGE.search(detail):
            return self._too_large(detail)
        if _NO_ROOM.search(detail):
            code = "RESOURCE_EXHAUSTED"
        if code == "NOT_FOUND" or _NO_SUCH_PATH in detail:
            return self._not_found(model, version, detail)
        of_gateway = gateway_error_in_grpc(self.address, code, detail)
        if of_gateway is not None:
            return of_gateway
        of_certificate = certificate_error(self.address, detail) if code == "UNAVAILABLE" else None
        if of_certificate is not None:
            return of_certificate
        if _HTTP_1.search(detail):
            return ProtocolError(
                f"{self.address} speaks HTTP/1, and not gRPC: is it the port of the REST API? Then "
                f"write http://{self.address.rpartition('/')[2]}.",
                detail=detail,
            )
        if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            return self._denied(code, detail)
        if code == "UNAVAILABLE":
            of_proxy = None if self.proxy is None else proxy_error(self.address, detail)
            return of_proxy or self._no_connection(detail)
        error, template = _ERRORS.get(code, (ProtocolError, "{address} failed: {code}."))
        message = template.format(
            address=self.address,
            code=code,
            model=self.model,
            protocol=self._protocol,
            reason=self._reason(detail),
        )
        return error(message, detail=detail)

    def from_http(
        self,
        status: int,
        detail: str,
        retry_after: str | None = None,
        location: str | None = None,
    ) -> BertQAError:
        """Return the error for the status of an HTTP response.

        Args:
            status: The HTTP status, other than 200.
            detail: The server's own text, which the error keeps.
            retry_after: The header `Retry-After`, where there is one.
            location: The header `Location`, where there is one.

        Returns:
            The error, not raised.
        """
        error = self.of_the_way(self._from_http(status, detail, retry_after, location))
        if isinstance(error, ServerOverloadedError) and retry_after is not None:
            error.retry_after = seconds_to_wait(retry_after)
        return error

    def _from_http(
        self, status: int, detail: str, retry_after: str | None, location: str | None
    ) -> BertQAError:
        if status == _REQUEST_ENTITY_TOO_LARGE:
            return self._too_large(detail)
        if status == _REQUEST_HEADER_FIELDS_TOO_LARGE or _HEADERS_TOO_LARGE.search(detail):
            return self._headers_too_large(detail)
        if status == _PROXY_AUTHENTICATION:
            return proxy_requires_authentication(self.address, detail)
        if not _NOT_READY.search(detail):
            waits = retry_after is not None
            of_gateway = gateway_error(
                self.address, status, detail, location=location, waits=waits
            ) or (certificate_error(self.address, detail) if status == _BAD_REQUEST else None)
            if of_gateway is not None:
                return of_gateway
        return self._from_grpc(_GRPC_CODES.get(status, f"HTTP status {status}"), detail)

    def unreachable(self, detail: str) -> BertQAError:
        """Return the error for an address that cannot be connected to."""
        return self.of_the_way(
            certificate_error(self.address, detail) or self._no_connection(detail)
        )

    def refused_by_proxy(self, detail: str) -> BertQAError:
        """Return the error for a proxy that does not lead to the address.

        Args:
            detail: The message of the HTTP client, with the status of the proxy's answer.
        """
        return self.of_the_way(proxy_error(self.address, detail) or self._unavailable(detail))

    def _no_connection(self, detail: str) -> BertQAError:
        return blaming_address(self._unavailable(detail))

    def _unavailable(self, detail: str) -> BertQAError:
        error, template = _ERRORS["UNAVAILABLE"]
        return error(template.format(address=self.address), detail=detail)

    def _denied(self, code: str, detail: str) -> AccessDeniedError:
        """Return the error for a server that wants credentials, or others than it got."""
        words = words_of(detail)
        reason = f" ({words})" if words else ""
        if code == "PERMISSION_DENIED":
            other = "another token= or headers=" if self.has_credentials else "token= or headers="
            message = (
                f"{self.address} denies access to the model {self.model!r}{reason}: pass {other}."
            )
        elif self.has_credentials:
            message = (
                f"{self.address} refused the token, or the header Authorization, that was "
                f"sent{reason}: pass another token= or headers=."
            )
        else:
            message = f"{self.address} requires authentication{reason}: pass token= or headers=."
        return AccessDeniedError(message, detail=detail)

    def not_http(self, detail: str) -> BertQAError:
        """Return the error for an address that answers with something else than HTTP."""
        failure = ProtocolError(
            f"{self.address} does not speak HTTP: is it a gRPC port?", detail=detail
        )
        return self.of_the_way(certificate_error(self.address, detail) or blaming_address(failure))

    def of_the_way(self, error: BertQAError) -> BertQAError:
        """Return an error whose message names the proxy that was called in between.

        Args:
            error: The error, not raised.
        """
        if self.proxy is not None and isinstance(error, _OF_THE_WAY):
            error.args = (f"{error} It was called through {self.proxy}.",)
        return error

    def starting(self, detail: str | None) -> ModelNotReadyError:
        """Return the error for a server that does not know the model while it starts."""
        return ModelNotReadyError(
            f"{self.address} is starting, and has not loaded the model {self.model!r} yet.",
            detail=detail,
        )

    def timed_out(self, detail: str, *, connects: bool = False) -> BertQAError:
        """Return the error for a call whose deadline passed.

        Args:
            detail: The text of the library.
            connects: Whether there was not even a connection.
        """
        error = self.from_grpc("DEADLINE_EXCEEDED", detail)
        return blaming_address(error) if connects else error

    def misread(self, error: ProtocolError) -> BertQAError:
        """Return the error for a good response that is not of the protocol.

        Args:
            error: The error of the codec, which does not know the address.
        """
        failure = ProtocolError(f"{self.address}: {error}", detail=error.detail)
        return self.of_the_way(blaming_address(failure))

    @property
    def _protocol(self) -> str:
        if not self.address.startswith(tuple(f"{scheme}://" for scheme in TFS_SCHEMES)):
            return "the KServe v2 protocol"
        return (
            "TensorFlow Serving's API: OVMS from 2026.3 on speaks KServe alone, then the address "
            "begins with grpc:// or grpcs://"
        )

    def _reason(self, detail: str) -> str:
        """Return why a server refuses a request, as far as it says so, as the end of a sentence."""
        if _OF_INPUTS.search(detail):
            return f": {self.model!r} may be a model with other or with fixed inputs"
        words = words_of(detail)
        return f" ({words})" if words else " and does not say why: its log may"

    def _headers_too_large(self, detail: str) -> RequestTooLargeError:
        words = words_of(detail)
        limit = f" ({words})" if words else ""
        return RequestTooLargeError(
            f"The headers of a call to {self.address} are too large{limit}: pass fewer or shorter "
            "headers=, or a shorter token=, or raise that limit of the server, or of the proxy in "
            "front of it.",
            detail=detail,
        )

    def _too_large(self, detail: str) -> RequestTooLargeError:
        limit = detail.strip() or "it does not say how large a message may be"
        return RequestTooLargeError(
            f"A message to or from {self.address} is too large ({limit}). Raise that limit of the "
            "server, or of the proxy in front of it, or send less at once: a smaller max_seq_len= "
            "makes smaller requests.",
            detail=detail,
        )

    def _not_found(self, model: str, version: str, detail: str) -> BertQAError:
        if "version" not in detail:
            _, _, path = self.address.partition("://")[2].partition("/")
            hint = f" Leave out /{path}, unless a gateway in front of the server needs it."
            return blaming_address(
                ProtocolError(
                    f"{self.address} does not know the requested path of {model}: does OpenVINO "
                    "Model Server, or another server that speaks KServe v2, answer there?"
                    f"{hint if path else ''}",
                    detail=detail,
                )
            )
        if self.version is None:
            return ModelNotReadyError(
                f"{self.address} knows {model}, but serves no version of it now.", detail=detail
            )
        return VersionNotFoundError(f"{self.address} does not serve {version}.", detail=detail)


def seconds_to_wait(retry_after: str) -> float | None:
    """Return how many seconds a header `Retry-After` asks to wait, None where it cannot be read.

    Args:
        retry_after: A number of seconds, or a date as HTTP writes it.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # of a year beyond what a machine counts
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
