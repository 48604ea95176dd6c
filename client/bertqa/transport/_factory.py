"""Choosing a transport by the address."""

from __future__ import annotations

from typing import TypedDict

from bertqa.artifact import split_model_name
from bertqa.errors import InvalidOptionError
from bertqa.transport._address import Address
from bertqa.transport._contract import AsyncTransport, Transport
from bertqa.transport._grpc import AsyncGrpcTransport, GrpcTransport
from bertqa.transport._rest import AsyncRestTransport, RestTransport
from bertqa.transport._security import Security
from bertqa.transport.codecs._codec import Codec
from bertqa.transport.codecs._kserve import KServeCodec

_REST_SCHEMES = ("http", "https")
_TFS_SCHEMES = ("tfs", "tfss")


class TransportOptions(TypedDict):
    """What it takes to open a transport, besides the address.

    `learns` says whether the model is asked what it is, `metadata_url` where, if not as usual.
    """

    model: str
    metadata_url: str | None
    learns: bool
    security: Security


def open_transport(url: str, options: TransportOptions) -> Transport:
    """Open the transport that a URL's scheme names. Raises InvalidOptionError."""
    address, rest_address = _addresses(url, options)
    model, security = options["model"], options["security"]
    if address.scheme in _REST_SCHEMES:
        return RestTransport(address, model, security)
    rest = None if rest_address is None else RestTransport(rest_address, model, security)
    return GrpcTransport(address, model, security, _codec(address, model), rest)


def open_async_transport(url: str, options: TransportOptions) -> AsyncTransport:
    """Open the asynchronous twin of the transport that a URL's scheme names."""
    address, rest_address = _addresses(url, options)
    model, security = options["model"], options["security"]
    if address.scheme in _REST_SCHEMES:
        return AsyncRestTransport(address, model, security)
    rest = None if rest_address is None else AsyncRestTransport(rest_address, model, security)
    return AsyncGrpcTransport(address, model, security, _codec(address, model), rest)


def open_split_transport(url: str, options: TransportOptions) -> Transport:
    """Open the way to the split of a model's traffic, over REST. Raises InvalidOptionError."""
    address, model = _split_address(url, options)
    return RestTransport(address, model, options["security"])


def open_async_split_transport(url: str, options: TransportOptions) -> AsyncTransport:
    """Open the asynchronous twin of the way to the split."""
    address, model = _split_address(url, options)
    return AsyncRestTransport(address, model, options["security"])


def _split_address(url: str, options: TransportOptions) -> tuple[Address, str]:
    address, rest_address = _addresses(url, {**options, "learns": True})
    return rest_address or address, split_model_name(options["model"])


def _codec(address: Address, model: str) -> Codec:
    """Choose the protocol that is spoken over gRPC. Raises InvalidOptionError."""
    if address.scheme not in _TFS_SCHEMES:
        return KServeCodec(model)
    try:
        from bertqa.transport.codecs._tfs import TFServingCodec
    except ImportError as error:
        raise InvalidOptionError(
            f"{address} needs the package ovmsclient: install this one with its extra `tfs`. "
            "OVMS from 2026.3 on speaks KServe alone: then it is grpc://.",
            detail=str(error),
        ) from error
    return TFServingCodec(model)


def _addresses(url: str, options: TransportOptions) -> tuple[Address, Address | None]:
    """Return the address of the server, and the REST address to learn the model at, if any."""
    address = Address.parse(url)
    metadata_url = options["metadata_url"]
    if metadata_url is not None:
        metadata_address = Address.parse(metadata_url)
        if metadata_address.scheme not in _REST_SCHEMES:
            raise InvalidOptionError(
                f"metadata_url is {metadata_url!r}, but it has to begin with http:// or https://."
            )
        return address, metadata_address
    if address.scheme in _REST_SCHEMES or not options["learns"]:
        return address, None
    return address, address.rest
