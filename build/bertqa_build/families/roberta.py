"""RoBERTa."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedModel, RobertaForQuestionAnswering

from bertqa_build.families._family import Family, LayerNames


class Roberta(Family):
    """RoBERTa: its position table begins with rows that padding takes.

    It rarely has token types. Where it does, its tokenizer may be BERT's and number them.
    """

    name = "RoBERTa"
    model_class: ClassVar[type[PreTrainedModel]] = RobertaForQuestionAnswering
    layer_names = LayerNames()

    def positions(self, config: Any) -> range:
        """Return the rows after that of padding; see `Family.positions`."""
        if config.pad_token_id is None:
            raise ValueError("its pad_token_id is null, from which positions are counted")
        return range(config.pad_token_id + 1, config.max_position_embeddings)


FAMILY = Roberta()
