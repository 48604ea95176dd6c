"""The contract between a gRPC channel and the protocol that is spoken over it."""

from __future__ import annotations

from typing import Any, Protocol

from bertqa.transport._contract import InferResult, Inputs, ModelMetadata


class Codec(Protocol):
    """Writes requests and reads responses, and knows the two methods that are called.

    `names_version` says whether an answer tells which version gave it. Where it does not, no
    request goes out without a version.
    """

    names_version: bool
    infer_method: str
    metadata_method: str
    infer_response: Any
    metadata_response: Any

    def infer_request(self, inputs: Inputs, version: int | None) -> Any:
        """Write a request to run the model; `version=None` is the server's default."""
        ...

    def infer_result(self, response: Any, version: int | None) -> InferResult:
        """Read what came back from the version that was asked. Raises ProtocolError."""
        ...

    def metadata_request(self, version: int | None) -> Any:
        """Write a request to describe the model."""
        ...

    def model_metadata(self, response: Any) -> ModelMetadata:
        """Read what came back. Raises ProtocolError."""
        ...
