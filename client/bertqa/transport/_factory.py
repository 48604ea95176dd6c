"""Choosing a transport by the address."""

from __future__ import annotations

from typing import NotRequired, Protocol, TypedDict, TypeVar

import httpx

from bertqa.artifact import split_model_name
from bertqa.errors import InvalidOptionError
from bertqa.transport._address import REST_SCHEMES, TFS_SCHEMES, Address, parsed_metadata_url
from bertqa.transport._channel_options import (
    ChannelOption,
    ChannelOptions,
    checked_channel_options,
)
from bertqa.transport._contract import AsyncProbedTransport, ProbedTransport
from bertqa.transport._security import Security
from bertqa.transport.codecs import Codec, KServeCodec

HttpClientT = TypeVar("HttpClientT", httpx.Client, httpx.AsyncClient)


class TransportOptions(TypedDict):
    """What it takes to open a transport, besides the address.

    Attributes:
        model: The model's name.
        metadata_url: The REST address that describes the model, where it is not the usual one.
        learns: Whether the tokenizer and lengths are read from the model.
        security: TLS files and headers.
        http_client: What calls over REST, in place of a client that is opened for that: an
            `httpx.Client`, or an `httpx.AsyncClient` where the calls are awaited. It stays open.
        channel_options: Options of the gRPC channel by name, which count above this project's.
    """

    model: str
    metadata_url: str | None
    learns: bool
    security: Security
    http_client: NotRequired[httpx.Client | httpx.AsyncClient | None]
    channel_options: NotRequired[ChannelOptions | None]


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
        InvalidOptionError: An address is not valid, or the security does not fit it.
    """
    address, rest_address = _addresses(url, options)
    called = (address,) if rest_address is None else (address, rest_address)
    options["security"].check_fits(*called)
    return address, rest_address


def describing_url(url: str, options: TransportOptions) -> str:
    """Return the address that is asked what the model is.

    Args:
        url: The server's address.
        options: The options of the transport.

    Raises:
        InvalidOptionError: An address is not valid, or the security does not fit it.
    """
    address, rest_address = addresses(url, options)
    return str(rest_address or address)


def _addresses(url: str, options: TransportOptions) -> tuple[Address, Address | None]:
    address = Address.parse(url)
    metadata_url = options["metadata_url"]
    if metadata_url is not None:
        return address, parsed_metadata_url(metadata_url)
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


def http_client_of(
    options: TransportOptions, address: Address, kind: type[HttpClientT]
) -> HttpClientT | None:
    """Return the HTTP client that the user passed, None where one has to be opened.

    Args:
        options: The options of the transport.
        address: The server's address.
        kind: The kind of client that the calls need.

    Raises:
        InvalidOptionError: It is another kind of client, or TLS files are passed beside it.
    """
    client = options.get("http_client")
    if client is None:
        return None
    if not isinstance(client, kind):
        raise InvalidOptionError(
            f"http_client= is of type {type(client).__name__}: pass an httpx.{kind.__name__}."
        )
    tls = options["security"].tls
    if tls is not None and tls.has_files and address.scheme in REST_SCHEMES:
        raise InvalidOptionError(
            "http_client= has TLS of its own: pass the files to httpx as its verify= and cert=, "
            "and no files in tls=."
        )
    return client


def channel_options_of(
    options: TransportOptions, address: Address
) -> tuple[tuple[str, ChannelOption], ...]:
    """Return the options of a gRPC channel that the user passed.

    Args:
        options: The options of the transport.
        address: The server's address.

    Raises:
        InvalidOptionError: An option is not one that a channel takes, or there is no channel.
    """
    given = options.get("channel_options")
    if given is None:
        return ()
    if address.scheme in REST_SCHEMES:
        raise InvalidOptionError(f"channel_options= are for gRPC, but the address is {address}.")
    return checked_channel_options(given)
