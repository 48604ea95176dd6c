"""Calling a model over a network: one contract, one transport for each protocol."""

from bertqa.transport._address import is_loopback, leads_to_loopback
from bertqa.transport._admin import (
    AVAILABLE,
    AdminClient,
    VersionMetadata,
    VersionState,
    rest_address,
)
from bertqa.transport._async.factory import open_async_split_transport, open_async_transport
from bertqa.transport._call_headers import CALL_HEADERS, NO_HEADERS
from bertqa.transport._cancellation import CANCELLATION, Cancellation
from bertqa.transport._channel_options import ChannelOptions
from bertqa.transport._contract import (
    AsyncTransport,
    InferResult,
    Inputs,
    ModelMetadata,
    Outputs,
    Transport,
)
from bertqa.transport._factory import TransportOptions, describing_url
from bertqa.transport._patience import ANSWER_SECONDS, NO_ANSWER, patiently
from bertqa.transport._pausing import ASYNC_PAUSE, SYNC_PAUSE
from bertqa.transport._retries import pause_after_refusal, pauses
from bertqa.transport._security import Security, Token
from bertqa.transport._served_versions import ServedVersion, served_versions
from bertqa.transport._sync.factory import open_split_transport, open_transport
from bertqa.transport._sync.rest import RestTransport
from bertqa.transport._tls import TLS
from bertqa.transport._warm_up import warm_up

__all__ = [
    "ANSWER_SECONDS",
    "ASYNC_PAUSE",
    "AVAILABLE",
    "CALL_HEADERS",
    "CANCELLATION",
    "NO_ANSWER",
    "NO_HEADERS",
    "SYNC_PAUSE",
    "TLS",
    "AdminClient",
    "AsyncTransport",
    "Cancellation",
    "ChannelOptions",
    "InferResult",
    "Inputs",
    "ModelMetadata",
    "Outputs",
    "RestTransport",
    "Security",
    "ServedVersion",
    "Token",
    "Transport",
    "TransportOptions",
    "VersionMetadata",
    "VersionState",
    "describing_url",
    "is_loopback",
    "leads_to_loopback",
    "open_async_split_transport",
    "open_async_transport",
    "open_split_transport",
    "open_transport",
    "patiently",
    "pause_after_refusal",
    "pauses",
    "rest_address",
    "served_versions",
    "warm_up",
]
