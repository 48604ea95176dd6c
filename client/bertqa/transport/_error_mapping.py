"""From what a server said to an error that says what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bertqa.errors import (
    AccessDeniedError,
    BertQAError,
    DeadlineExceededError,
    ModelNotFoundError,
    ModelNotReadyError,
    ProtocolError,
    ServerOverloadedError,
    ServerUnreachableError,
    VersionNotFoundError,
)

# HTTP statuses as gRPC codes; OVMS answers what gRPC calls UNAVAILABLE with 404 over REST.
HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_NO_SUCH_MODEL = re.compile(r"(?i)(model|pipeline|graph definition) with requested name")
_REFUSED_STREAM = re.compile(r"RST_STREAM with error code 7\b|REFUSED_STREAM")
_NOT_READY = re.compile(r"(?i)not loaded yet|is loading|not ready")


@dataclass(frozen=True, slots=True)
class ErrorMapper:
    """What was asked, and of whom; for the text of errors."""

    address: str
    model: str
    version: int | None

    def error(self, code: str, detail: str) -> BertQAError:
        """Return the error for a gRPC status code (by name) and the server's own text."""
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
        if _REFUSED_STREAM.search(detail):
            code = "RESOURCE_EXHAUSTED"
        if code == "NOT_FOUND" and self.version is None and "version" in detail:
            return ModelNotReadyError(
                f"{self.address} knows {model}, but serves no version of it now.", detail=detail
            )
        if code == "NOT_FOUND" and "version" in detail:
            return VersionNotFoundError(f"{self.address} does not serve {version}.", detail=detail)
        if code == "NOT_FOUND":
            return ProtocolError(
                f"{self.address} does not know what was asked for: does OpenVINO Model Server, or "
                "another server that speaks KServe v2, answer there?",
                detail=detail,
            )
        kind, text = _BY_CODE.get(code, (ProtocolError, "{address} failed: {code}."))
        message = text.format(address=self.address, code=code, model=self.model)
        return kind(message, detail=detail)

    def unreachable(self, detail: str) -> ServerUnreachableError:
        """Return the error for a server that nobody reaches."""
        error = self.error("UNAVAILABLE", detail)
        return ServerUnreachableError(str(error), detail=detail)


_BY_CODE: dict[str, tuple[type[BertQAError], str]] = {
    "UNAVAILABLE": (
        ServerUnreachableError,
        "Cannot connect to {address}: is the server running, and is this its address?",
    ),
    "CANCELLED": (ServerUnreachableError, "The connection to {address} was closed."),
    "DEADLINE_EXCEEDED": (
        DeadlineExceededError,
        "{address} gave no answer in time: is it busy? Pass a greater timeout= to wait longer.",
    ),
    "RESOURCE_EXHAUSTED": (
        ServerOverloadedError,
        "{address} has no room for the request: try again later, with fewer at once.",
    ),
    "UNAUTHENTICATED": (AccessDeniedError, "{address} asks who you are: pass token= or headers=."),
    "PERMISSION_DENIED": (AccessDeniedError, "{address} does not let you ask {model!r}."),
    "INVALID_ARGUMENT": (
        ProtocolError,
        "{address} refuses the request: {model!r} may be a model with other or with fixed inputs.",
    ),
    "UNIMPLEMENTED": (ProtocolError, "{address} does not speak the KServe v2 protocol."),
}
