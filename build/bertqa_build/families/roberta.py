"""RoBERTa."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedModel, RobertaForQuestionAnswering

from bertqa_build.families._family import Family, LayerNames


class Roberta(Family):
    """RoBERTa: its position table begins with rows that padding takes, and it has no token types.

    Its tokenizer numbers all tokens alike, also where the table of token types has two rows.
    """

    name = "RoBERTa"
    model_class: ClassVar[type[PreTrainedModel]] = RobertaForQuestionAnswering
    layer_names = LayerNames()

    def has_token_types(self, config: Any) -> bool:
        """Return False."""
        return False

    def positions(self, config: Any) -> range:
        """Return the rows after that of padding; see `Family.positions`."""
        if config.pad_token_id is None:
            raise ValueError("its pad_token_id is null, from which positions are counted")
        return range(config.pad_token_id + 1, config.max_position_embeddings)


FAMILY = Roberta()
