"""A model in this process, behind the transport contract."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from bertqa.artifact import INPUTS, MODEL_NAME, OUTPUTS, ModelInfo
from bertqa.transport import InferResult, Inputs, ModelMetadata, Outputs


class Engine(ABC):
    """A model in this process. One request at a time: every engine uses all cores for one."""

    def __init__(self, info: ModelInfo, version: int = 1) -> None:
        self.info = info
        self.version = version
        self._lock = threading.Lock()

    @abstractmethod
    def run(self, inputs: Inputs) -> Outputs:
        """Return the logits, FP32 `[batch, tokens]`, for INT64 inputs of that shape."""

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model; `version` and `timeout` have no meaning within a process."""
        with self._lock:
            return InferResult(self.run(inputs), self.version)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model as a server would."""
        return ModelMetadata(
            name=MODEL_NAME,
            versions=(self.version,),
            inputs=dict.fromkeys(INPUTS, "INT64"),
            outputs=dict.fromkeys(OUTPUTS, "FP32"),
            rt_info=self.info.to_rt_info(),
        )

    def close(self) -> None:  # noqa: B027
        """Nothing to give back."""
