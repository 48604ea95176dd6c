"""ModernBERT."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import ModernBertForQuestionAnswering

from bertqa_build.families._family import MASKED, Family, additive_mask


class ModernBert(Family):
    """ModernBERT: rotary positions, and layers that see the tokens near by alone."""

    name = "ModernBERT"
    model_class = ModernBertForQuestionAnswering
    head = ("head", "classifier")

    def has_token_types(self, config: Any) -> bool:
        """Return False."""
        return False

    def positions(self, config: Any) -> None:
        """Return None: positions are rotations, of which there are as many as it takes."""
        return

    def logits(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Run a model; see `Family.logits`."""
        mask = additive_mask(attention_mask)
        token = torch.arange(input_ids.shape[1], device=input_ids.device)
        is_far = (token[:, None] - token[None, :]).abs() > model.config.sliding_window
        output = model(
            input_ids=input_ids,
            attention_mask={
                "full_attention": mask,
                "sliding_attention": torch.minimum(mask, is_far.to(torch.float32) * MASKED),
            },
            return_dict=True,
        )
        return output.start_logits, output.end_logits


FAMILY = ModernBert()
