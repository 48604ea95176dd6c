"""MPNet."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import MPNetForQuestionAnswering

from bertqa_build.families._family import Family, additive_mask

_PADDING = 1


class MPNet(Family):
    """MPNet: positions as in RoBERTa, and a bias for each distance between two tokens.

    The model makes a mask of its own, which quantisers would touch, so that its parts are called
    one by one.
    """

    name = "MPNet"
    model_class = MPNetForQuestionAnswering
    fast_attention = "eager"
    # Measured on all-mpnet-base-v2: docs/results.md.
    keeps_floating_point = (r"\.output\.dense$",)
    why_floating_point = "in INT8 they cost more than a point of F1"

    def has_token_types(self, config: Any) -> bool:
        """Return False."""
        return False

    def positions(self, config: Any) -> range:
        """Return the rows after that of padding; see `Family.positions`."""
        return range(_PADDING + 1, config.max_position_embeddings)

    def logits(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Run a model; see `Family.logits`."""
        embedded = model.mpnet.embeddings(input_ids=input_ids, position_ids=position_ids)
        (hidden,) = model.mpnet.encoder(embedded, attention_mask=additive_mask(attention_mask))
        start, end = model.qa_outputs(hidden).split(1, dim=-1)
        return start.squeeze(-1), end.squeeze(-1)


FAMILY = MPNet()
