"""Choosing a transport by the address."""

from __future__ import annotations

from typing import Protocol, TypedDict

from bertqa.artifact import split_model_name
from bertqa.errors import InvalidOptionError
from bertqa.transport._address import REST_SCHEMES, TFS_SCHEMES, Address
from bertqa.transport._contract import AsyncProbedTransport, ProbedTransport
from bertqa.transport._security import Security
from bertqa.transport.codecs import Codec, KServeCodec


class TransportOptions(TypedDict):
    """What it takes to open a transport, besides the address.

    Attributes:
        model: The model's name.
        metadata_url: The REST address that describes the model, where it is not the usual one.
        learns: Whether the tokenizer and lengths are read from the model.
        security: TLS files and headers.
    """

    model: str
    metadata_url: str | None
    learns: bool
    security: Security


class OpenAt(Protocol):
    """Opens a transport to an address, which repeats calls that reach no server, or does not."""

    def __call__(self, at: Address, *, repeats: bool) -> ProbedTransport: ...


class AsyncOpenAt(Protocol):
    """The asynchronous twin of `OpenAt`."""

    def __call__(self, at: Address, *, repeats: bool) -> AsyncProbedTransport: ...


def codec_for(address: Address, model: str) -> Codec:
    """Return the codec of the protocol that is spoken over gRPC.

    Args:
        address: A gRPC address.
        model: The model's name.

    Returns:
        The codec.

    Raises:
        InvalidOptionError: The protocol needs a package that is not installed.
    """
    if address.scheme not in TFS_SCHEMES:
        return KServeCodec(model)
    try:
        from bertqa.transport.codecs.tfserving import TFServingCodec
    except ImportError as error:
        raise InvalidOptionError(
            f"{address} needs the package ovmsclient: install this one with its extra `tfs`. "
            "OVMS from 2026.3 on speaks KServe alone: then the address begins with grpc://.",
            detail=str(error),
        ) from error
    return TFServingCodec(model)


def addresses(url: str, options: TransportOptions) -> tuple[Address, Address | None]:
    """Parse the address of a server, and find the one that describes the model.

    Args:
        url: The server's address.
        options: The options of the transport.

    Returns:
        The address, and the REST address that describes the model, None where that is not needed
        or is the same.

    Raises:
        InvalidOptionError: An address is not valid.
    """
    address = Address.parse(url)
    metadata_url = options["metadata_url"]
    if metadata_url is not None:
        metadata_address = Address.parse(metadata_url)
        if metadata_address.scheme not in REST_SCHEMES:
            raise InvalidOptionError(
                f"metadata_url is {metadata_url!r}, but it has to begin with http:// or https://."
            )
        return address, metadata_address
    if address.scheme in REST_SCHEMES or not options["learns"]:
        return address, None
    return address, address.rest


def split_address(url: str, options: TransportOptions) -> tuple[Address, str]:
    """Return the REST address of a server, and the name of the model that reports the split.

    Args:
        url: The server, by its gRPC or its REST address.
        options: The options of the transport.

    Raises:
        InvalidOptionError: An address is not valid.
    """
    address, rest_address = addresses(url, {**options, "learns": True})
    return rest_address or address, split_model_name(options["model"])
