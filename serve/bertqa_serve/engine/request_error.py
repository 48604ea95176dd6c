"""The one way in which a request is refused, whichever protocol carried it."""

from __future__ import annotations

from grpc import StatusCode


class RequestError(Exception):
    """A refused request: the KServe (gRPC) status code and the text that OVMS gives for it."""

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def invalid(text: str) -> RequestError:
    """Refuse a request for what it says."""
    return RequestError(StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> RequestError:
    """Refuse a request for what it asks for."""
    return RequestError(StatusCode.NOT_FOUND, text)


def internal() -> RequestError:
    """Answer for an error of this server's own, which its log tells of."""
    return RequestError(StatusCode.INTERNAL, "Internal server error")
