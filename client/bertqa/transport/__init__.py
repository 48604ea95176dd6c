"""Calling a model over a network: one contract, one transport for each protocol."""

from bertqa.transport._admin import (
    AVAILABLE,
    ServedVersion,
    VersionState,
    rest_address,
    rest_request,
    served_versions,
    version_states,
)
from bertqa.transport._async.factory import open_async_split_transport, open_async_transport
from bertqa.transport._contract import (
    AsyncTransport,
    InferResult,
    Inputs,
    ModelMetadata,
    Outputs,
    Transport,
)
from bertqa.transport._factory import TransportOptions
from bertqa.transport._retries import pauses
from bertqa.transport._security import TLS, Security
from bertqa.transport._sync.factory import open_split_transport, open_transport
from bertqa.transport._sync.rest import RestTransport

__all__ = [
    "AVAILABLE",
    "TLS",
    "AsyncTransport",
    "InferResult",
    "Inputs",
    "ModelMetadata",
    "Outputs",
    "RestTransport",
    "Security",
    "ServedVersion",
    "Transport",
    "TransportOptions",
    "VersionState",
    "open_async_split_transport",
    "open_async_transport",
    "open_split_transport",
    "open_transport",
    "pauses",
    "rest_address",
    "rest_request",
    "served_versions",
    "version_states",
]
