"""The table of word embeddings in fewer bytes: the larger half of a small model's file."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertqa_build.model import SpanModel

Storage = Literal["FP32", "FP16", "INT8"]

_MOST = 127


class StoredEmbedding(nn.Module):
    """A table of embeddings in FP16 or INT8, whose rows are made FP32 when they are looked up.

    Args:
        table: The table in FP32, which is not changed.
        storage: `FP16`, or `INT8` with a scale for each row.
    """

    weight: Tensor
    scale: Tensor | None

    def __init__(self, table: nn.Module, storage: Storage) -> None:
        super().__init__()
        weight = table.get_parameter("weight").detach()
        scale = None
        if storage == "INT8":
            scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / _MOST
            weight = (weight / scale).round().to(torch.int8)
        else:
            weight = weight.to(torch.float16)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings of tokens, FP32 `[batch, tokens, channels]`.

        Args:
            ids: INT64 `[batch, tokens]`.
        """
        rows = functional.embedding(ids, self.weight).to(torch.float32)
        return rows if self.scale is None else rows * functional.embedding(ids, self.scale)


def with_stored_embeddings(model: SpanModel, storage: Storage) -> SpanModel:
    """Return a model with its word embeddings in fewer bytes.

    Args:
        model: The model, which is not changed.
        storage: How they are stored.

    Returns:
        A copy that shares all other weights with the model; the model itself for `FP32`.
    """
    if storage == "FP32":
        return model
    table = model.get_input_embeddings()
    small = model.sharing_copy()
    small.model.set_input_embeddings(StoredEmbedding(table, storage))
    return small.eval()
