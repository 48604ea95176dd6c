"""The model that is trained, quantised and exported: BERT with the project's tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertForQuestionAnswering

MASKED = -10_000.0
"""What is added to a masked position's attention score, as in the original BERT; finite in FP16."""


class SpanModel(nn.Module):
    """A BERT with the inputs and outputs of the project's tensor contract.

    The additive mask is made here, because the mask code of transformers does not trace and no
    quantiser must touch the mask.

    Args:
        bert: The model, with eager attention. It is not copied.
    """

    def __init__(self, bert: BertForQuestionAnswering) -> None:
        super().__init__()
        self.bert = bert

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score every token as the start and as the end of the answer.

        Args:
            input_ids: INT64 `[batch, tokens]`.
            attention_mask: INT64 `[batch, tokens]`; 0 where a position is padding.
            token_type_ids: INT64 `[batch, tokens]`; 0 in the question, 1 in the context.

        Returns:
            The start logits and the end logits, FP32 `[batch, tokens]` each.
        """
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED
        output = self.bert(
            input_ids=input_ids,
            attention_mask=mask,
            token_type_ids=token_type_ids,
            return_dict=True,
        )
        return output.start_logits, output.end_logits


def as_span_model(model: nn.Module) -> nn.Module:
    """Return `model` with the project's inputs and outputs: itself if it has them already."""
    return SpanModel(model) if isinstance(model, BertForQuestionAnswering) else model
