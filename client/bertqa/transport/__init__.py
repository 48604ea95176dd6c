"""Calling a model over a network: one contract, one transport for each protocol."""

from bertqa.transport._admin import (
    AVAILABLE,
    AdminClient,
    VersionMetadata,
    VersionState,
    rest_address,
)
from bertqa.transport._async.factory import open_async_split_transport, open_async_transport
from bertqa.transport._cancellation import CANCELLATION, Cancellation
from bertqa.transport._contract import (
    AsyncTransport,
    InferResult,
    Inputs,
    ModelMetadata,
    Outputs,
    Transport,
)
from bertqa.transport._factory import TransportOptions
from bertqa.transport._patience import ANSWER_SECONDS, NO_ANSWER, patiently
from bertqa.transport._pausing import ASYNC_PAUSE, SYNC_PAUSE
from bertqa.transport._retries import pause_after_refusal, pauses
from bertqa.transport._security import TLS, Security
from bertqa.transport._served_versions import ServedVersion, served_versions
from bertqa.transport._sync.factory import open_split_transport, open_transport
from bertqa.transport._sync.rest import RestTransport
from bertqa.transport._warm_up import warm_up

__all__ = [
    "ANSWER_SECONDS",
    "ASYNC_PAUSE",
    "AVAILABLE",
    "CANCELLATION",
    "NO_ANSWER",
    "SYNC_PAUSE",
    "TLS",
    "AdminClient",
    "AsyncTransport",
    "Cancellation",
    "InferResult",
    "Inputs",
    "ModelMetadata",
    "Outputs",
    "RestTransport",
    "Security",
    "ServedVersion",
    "Transport",
    "TransportOptions",
    "VersionMetadata",
    "VersionState",
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
