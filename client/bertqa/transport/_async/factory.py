"""Opening the transport that an address names."""

from __future__ import annotations

from bertqa.transport._address import REST_SCHEMES
from bertqa.transport._async.grpc import AsyncGrpcTransport
from bertqa.transport._async.rest import AsyncRestTransport
from bertqa.transport._contract import AsyncTransport
from bertqa.transport._factory import TransportOptions, addresses, codec_for, split_address


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
    model, security = options["model"], options["security"]
    if address.scheme in REST_SCHEMES:
        return AsyncRestTransport(address, model, security)
    codec = codec_for(address, model)
    rest = None if rest_address is None else AsyncRestTransport(rest_address, model, security)
    return AsyncGrpcTransport(address, model, security, codec, rest)


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
    return AsyncRestTransport(address, model, options["security"])
