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
    """What one inference gave.

    `outputs` maps a name to an FP32 array `[batch, tokens]`; `model_version` is the version that
    answered, which the server names itself.
    """

    outputs: Outputs
    model_version: int


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a server says of one model version.

    `inputs` and `outputs` map names to KServe datatypes; `versions` are those that can be asked
    now; `rt_info` is `rt_info["model_info"]` of the IR, empty where the server gives none.
    """

    name: str
    versions: tuple[int, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    rt_info: Mapping[str, str]


class Transport(Protocol):
    """Runs the model somewhere: over gRPC, over REST, or in this process.

    `version=None` means the server's default. Implementations are safe to use from several threads
    and raise only errors of `bertqa.errors`.
    """

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model on INT64 arrays `[batch, tokens]`; `timeout` is in seconds."""
        ...

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Ask what the model is; `timeout` is in seconds."""
        ...

    def close(self) -> None:
        """Release connections; calling it again does nothing."""
        ...


class AsyncTransport(Protocol):
    """The asynchronous twin of `Transport`."""

    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model on INT64 arrays `[batch, tokens]`; `timeout` is in seconds."""
        ...

    async def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Ask what the model is; `timeout` is in seconds."""
        ...

    async def close(self) -> None:
        """Release connections; calling it again does nothing."""
        ...
