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
    shares_head = True

    def has_token_types(self, config: Any) -> bool:
        """Return False."""
        return False

    def positions(self, config: Any) -> None:
        """Return None: positions are rotations, of which there are as many as it takes."""
        return

    def mask(self, config: Any, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return a mask for each of the two kinds of layers; see `Family.mask`."""
        mask = additive_mask(attention_mask)
        token = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        is_far = (token[:, None] - token[None, :]).abs() > config.sliding_window
        return {
            "full_attention": mask,
            "sliding_attention": torch.minimum(mask, is_far.to(torch.float32) * MASKED),
        }


FAMILY = ModernBert()
