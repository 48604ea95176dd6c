"""A torch module as an engine."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from bertqa.artifact import INPUTS, OUTPUTS, ModelInfo
from bertqa.runtime._engine import Engine
from bertqa.transport import Inputs, Outputs


class TorchEngine(Engine):
    """A torch module with the inputs and outputs of `bertqa_build.model.SpanModel`."""

    def __init__(
        self,
        module: nn.Module,
        info: ModelInfo,
        *,
        version: int = 1,
        inputs: Iterable[str] = INPUTS,
    ) -> None:
        """Take a module, which is put into evaluation mode, and its description of itself.

        Args:
            module: The module.
            info: The model's description of itself.
            version: The version's number, which every result names.
            inputs: The names of the module's inputs.
        """
        super().__init__(info, version, inputs)
        self.module = module.eval()

    def run(self, inputs: Inputs) -> Outputs:
        """See `Engine.run`."""
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        with torch.inference_mode():
            logits = self.module(**tensors)
        return {
            name: np.asarray(tensor.float().numpy())
            for name, tensor in zip(OUTPUTS, logits, strict=True)
        }
