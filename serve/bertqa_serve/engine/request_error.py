"""How a request is refused, whichever protocol carried it."""

from __future__ import annotations

from grpc import StatusCode


class RequestError(Exception):
    """A refused request.

    Args:
        code: KServe's status code, which is gRPC's.
        text: OVMS's text for it.
    """

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def invalid(text: str) -> RequestError:
    """Return the error for a request that is wrong in itself."""
    return RequestError(StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> RequestError:
    """Return the error for a request that asks for something that is not there."""
    return RequestError(StatusCode.NOT_FOUND, text)


def internal() -> RequestError:
    """Return the error for a defect of this server, which its log describes."""
    return RequestError(StatusCode.INTERNAL, "Internal server error")
