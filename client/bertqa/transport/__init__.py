"""Ways to reach a model: one contract, one module each."""

from __future__ import annotations

from typing import TypedDict

from bertqa.transport.base import AsyncTransport, Transport
from bertqa.transport.security import Security


class TransportOptions(TypedDict):
    """What it takes to open a transport, besides the address.

    `learns` says whether the model is asked what it is, `metadata_url` where, if not as usual.
    """

    model: str
    metadata_url: str | None
    learns: bool
    security: Security


def open_transport(url: str, options: TransportOptions) -> Transport:
    """Open the transport that a URL's scheme names."""
    raise NotImplementedError


def open_async_transport(url: str, options: TransportOptions) -> AsyncTransport:
    """Open the asynchronous twin of the transport that a URL's scheme names."""
    raise NotImplementedError
