"""DistilBERT."""

from __future__ import annotations

from typing import Any

from transformers import DistilBertForQuestionAnswering

from bertqa_build.families._family import Family, LayerNames


class DistilBert(Family):
    """DistilBERT, which has no token types."""

    name = "DistilBERT"
    model_class = DistilBertForQuestionAnswering
    layer_names = LayerNames(
        layers="transformer.layer",
        attention="attention",
        projections=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attention_output="attention.out_lin",
        feed_forward="ffn",
        expansion="ffn.lin1",
        contraction="ffn.lin2",
    )

    def has_token_types(self, config: Any) -> bool:
        """Return False."""
        return False

    def neurons(self, config: Any) -> int:
        """Return them by the name that DistilBERT has for them."""
        return int(config.hidden_dim)


FAMILY = DistilBert()
