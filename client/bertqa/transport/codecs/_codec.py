"""The contract between a gRPC channel and the protocol that is spoken over it."""

from __future__ import annotations

from typing import Any, Protocol

from bertqa.transport._contract import InferResult, Inputs, ModelMetadata


class Codec(Protocol):
    """Encodes requests and decodes responses of one protocol over gRPC.

    Attributes:
        names_version: Whether a response names the version that answered. Where it does not, every
            request has to name a version.
        infer_method: The full name of the gRPC method that runs the model.
        metadata_method: The full name of the gRPC method that describes the model.
        infer_response: The protobuf message class that `infer_method` returns.
        metadata_response: The protobuf message class that `metadata_method` returns.
    """

    names_version: bool
    infer_method: str
    metadata_method: str
    infer_response: Any
    metadata_response: Any

    def infer_request(self, inputs: Inputs, version: int | None) -> Any:
        """Encode a request to run the model.

        Args:
            inputs: INT64 arrays `[batch, tokens]` by input name.
            version: The version to run; None is the server's default.

        Returns:
            A protobuf message for `infer_method`.
        """
        ...

    def infer_result(self, response: Any, version: int | None) -> InferResult:
        """Decode the response to `infer_request`.

        Args:
            response: A message of the class `infer_response`.
            version: The version that the request named.

        Returns:
            The outputs, FP32 `[batch, tokens]`, and the version that answered.

        Raises:
            ProtocolError: The message is not what the protocol allows.
        """
        ...

    def metadata_request(self, version: int | None) -> Any:
        """Encode a request to describe the model.

        Args:
            version: The version to describe; None is the server's default.

        Returns:
            A protobuf message for `metadata_method`.
        """
        ...

    def model_metadata(self, response: Any) -> ModelMetadata:
        """Decode the response to `metadata_request`.

        Args:
            response: A message of the class `metadata_response`.

        Returns:
            The model's description; `rt_info` is empty where the protocol does not carry it.

        Raises:
            ProtocolError: The message is not what the protocol allows.
        """
        ...
