"""Opening the transport that an address names."""

from __future__ import annotations

from functools import partial

import httpx

from bertqa.transport._address import REST_SCHEMES, Address
from bertqa.transport._async.balanced import AsyncBalancedTransport
from bertqa.transport._async.grpc import AsyncGrpcTransport
from bertqa.transport._async.rest import AsyncRestTransport
from bertqa.transport._async.searching import AsyncSearchingTransport
from bertqa.transport._contract import AsyncProbedTransport, AsyncTransport
from bertqa.transport._factory import (
    AsyncOpenAt,
    TransportOptions,
    addresses,
    channel_options_of,
    codec_for,
    http_client_of,
    split_address,
)
from bertqa.transport._resolution import may_have_several


def open_async_transport(url: str, options: TransportOptions) -> AsyncTransport:
    """Open the transport that the scheme of an address names.

    Args:
        url: The server's address.
        options: The model, the address that describes it, and the security.

    Returns:
        The transport, which connects at its first call.

    Raises:
        InvalidOptionError: An address is not valid, or a file or package is missing.
    """
    address, rest_address = addresses(url, options)
    http_client = http_client_of(options, address, httpx.AsyncClient)
    channel_options = channel_options_of(options, address)

    def open_at(at: Address, *, repeats: bool) -> AsyncProbedTransport:
        model, security = options["model"], options["security"]
        if at.scheme in REST_SCHEMES:
            return AsyncRestTransport(at, model, security, http_client, repeats=repeats)
        described_at = rest_address
        follows = options["metadata_url"] is None and http_client is None
        if rest_address is not None and follows and at.authority:
            described_at = rest_address.at(at.host)
        rest = None
        if described_at is not None:
            rest = AsyncRestTransport(described_at, model, security, http_client, repeats=repeats)
        codec = codec_for(at, model)
        return AsyncGrpcTransport(
            at, model, security, codec, rest, channel_options, repeats=repeats
        )

    return _balanced(address, open_at, http_client)


def open_async_split_transport(url: str, options: TransportOptions) -> AsyncTransport:
    """Open a transport to the model that reports the split of another model's traffic.

    Args:
        url: The server's address.
        options: The options of the transport to the model itself.

    Returns:
        A REST transport, which connects at its first call.

    Raises:
        InvalidOptionError: An address is not valid, or a file is missing.
    """
    address, model = split_address(url, options)
    http_client = http_client_of(options, address, httpx.AsyncClient)

    def open_at(at: Address, *, repeats: bool) -> AsyncProbedTransport:
        return AsyncRestTransport(at, model, options["security"], http_client, repeats=repeats)

    return _balanced(address, open_at, http_client)


def _balanced(
    address: Address, open_at: AsyncOpenAt, http_client: httpx.AsyncClient | None
) -> AsyncTransport:
    """Return one transport to all servers that an address may stand for."""
    single = AsyncSearchingTransport(partial(open_at, address, repeats=True))
    has_way = http_client is not None and address.scheme in REST_SCHEMES
    if has_way or not may_have_several(address):
        return single
    return AsyncBalancedTransport(address, single, partial(open_at, repeats=False))
