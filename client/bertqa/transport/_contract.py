"""The contract between the client and whatever runs the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Inputs = Mapping[str, NDArray[np.int64]]
Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class InferResult:
    """The result of one inference.

    Attributes:
        outputs: FP32 arrays `[batch, tokens]` by output name.
        model_version: The version that answered, as the server names it.
    """

    outputs: Outputs
    model_version: int


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """The description of one model version.

    Attributes:
        name: The model's name.
        versions: The versions that can be requested now.
        inputs: KServe datatypes by input name.
        outputs: KServe datatypes by output name.
        rt_info: `rt_info["model_info"]` of the IR, empty where the server does not send it.
    """

    name: str
    versions: tuple[int, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    rt_info: Mapping[str, str]


class Transport(Protocol):
    """Runs the model somewhere: over gRPC, over REST, or in this process.

    Implementations are safe to use from several threads and raise only errors of `bertqa.errors`.
    """

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model.

        Args:
            inputs: INT64 arrays `[batch, tokens]` by input name.
            version: The version to run; None is the server's default.
            timeout: Seconds to wait at most.

        Returns:
            The outputs, FP32 `[batch, tokens]`, and the version that answered.
        """
        ...

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model.

        Args:
            version: The version to describe; None is the server's default.
            timeout: Seconds to wait at most.

        Returns:
            The description.
        """
        ...

    def close(self) -> None:
        """Release connections; a second call does nothing."""
        ...


class AsyncTransport(Protocol):
    """The asynchronous twin of `Transport`, used from one event loop."""

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model; see `Transport.infer`."""
        ...

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model; see `Transport.metadata`."""
        ...

    async def close(self) -> None:
        """Release connections; a second call does nothing."""
        ...


class ProbedTransport(Transport, Protocol):
    """A transport to one address, whose connections can be made anew."""

    def is_live(self, timeout: float) -> bool:
        """Return whether the server answers over a new connection.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether it does, however it answers.
        """
        ...

    def renew(self) -> None:
        """Have the next call over a new connection, while no call is on its way."""
        ...


class AsyncProbedTransport(AsyncTransport, Protocol):
    """The asynchronous twin of `ProbedTransport`."""

    async def is_live(self, timeout: float) -> bool:
        """Return whether the server answers; see `ProbedTransport.is_live`."""
        ...

    async def renew(self) -> None:
        """Have the next call over a new connection; see `ProbedTransport.renew`."""
        ...
