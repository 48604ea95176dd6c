"""Families that can be pruned, and what their models compute of batches without meaning."""

from __future__ import annotations

import torch
from torch import Tensor

from bertqa_build.families import family_of
from bertqa_build.model import SpanModel
from tests.support.families import FAMILIES

PRUNED = [row for row in FAMILIES if family_of(row.model_type).layer_names is not None]


def batches(model: SpanModel, count: int = 6) -> list[dict[str, Tensor]]:
    chance = torch.Generator().manual_seed(5)
    made = []
    for _ in range(count):
        shape = 4, 24
        ids = torch.randint(5, model.vocabulary, shape, generator=chance)
        mask = torch.ones(shape, dtype=torch.int64)
        mask[0, 16:] = 0
        types = (torch.arange(24) > 8).long().expand(shape)
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        made.append({name: values[name] for name in model.inputs})
    return made


def logits(model: SpanModel, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.stack(model(**inputs))[:, inputs["attention_mask"].bool()]
