"""A model in this process, behind the transport contract."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable

from bertqa.artifact import INPUTS, MODEL_NAME, OUTPUTS, ModelInfo
from bertqa.errors import ClientStateError, DeadlineExceededError, VersionNotFoundError
from bertqa.transport import InferResult, Inputs, ModelMetadata, Outputs


class Engine(ABC):
    """One version of a model in this process: a `bertqa.transport.Transport`.

    Safe to use from several threads. Requests run one after the other, because an engine uses
    all cores for one, unless it says that it runs several at once.
    """

    def __init__(
        self,
        info: ModelInfo,
        version: int = 1,
        inputs: Iterable[str] = INPUTS,
        *,
        at_once: int = 1,
    ) -> None:
        """Describe the model.

        Args:
            info: The model's description of itself.
            version: The version's number, which every result names.
            inputs: The names of the model's inputs.
            at_once: How many requests run at once.
        """
        self.info = info
        self.version = version
        self.inputs = tuple(inputs)
        self._free = threading.Semaphore(at_once)
        self._closed = False

    @abstractmethod
    def run(self, inputs: Inputs) -> Outputs:
        """Run the model; not safe to call from more threads than requests run at once.

        Args:
            inputs: INT64 arrays `[batch, tokens]` by name.

        Returns:
            FP32 arrays `[batch, tokens]` by name.

        Raises:
            BertQAError: The model cannot run on these inputs.
        """

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model when it is free.

        Args:
            inputs: INT64 arrays `[batch, tokens]` by name.
            version: The version to ask; None asks the one that is loaded.
            timeout: Seconds to wait for other requests. A model that runs is not stopped:
                OpenVINO returns wrong shapes after a request was cancelled.

        Returns:
            FP32 arrays `[batch, tokens]` by name, and the version.

        Raises:
            ClientStateError: The engine is closed.
            DeadlineExceededError: The model was not free in time.
            VersionNotFoundError: Another version is loaded.
        """
        self._require(version)
        if not self._free.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            raise DeadlineExceededError(
                f"The model was busy for {timeout:g} s. Pass a greater timeout to wait longer."
            )
        try:
            return InferResult(self.run(inputs), self.version)
        finally:
            self._free.release()

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model as a server would; raises as `infer` does.

        Args:
            version: The version; None for the one that is loaded.
            timeout: Seconds; not used.

        Returns:
            Name, versions, inputs, outputs and `rt_info`.
        """
        self._require(version)
        return ModelMetadata(
            name=MODEL_NAME,
            versions=(self.version,),
            inputs=dict.fromkeys(self.inputs, "INT64"),
            outputs=dict.fromkeys(OUTPUTS, "FP32"),
            rt_info=self.info.to_rt_info(),
        )

    def close(self) -> None:
        """Refuse further requests; the memory is freed with the engine itself."""
        self._closed = True

    def _require(self, version: int | None) -> None:
        if self._closed:
            raise ClientStateError("This model is closed.")
        if version not in (None, self.version):
            raise VersionNotFoundError(
                f"There is no version {version}: version {self.version} is loaded in this process."
            )
