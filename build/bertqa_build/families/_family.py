"""What a build has to know of a family of models."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bertqa.artifact import ATTENTION_MASK, INPUT_IDS, TOKEN_TYPE_IDS
from bertqa.qa import padded_length

MASKED = -10_000.0
"""What is added to a masked position's attention score, as in the original BERT; finite in FP16."""


@dataclass(frozen=True, slots=True)
class LayerNames:
    """Where the parts of standard attention are, which can be pruned.

    `layers` is the list of encoder layers, below the base model. The others are below a layer.

    Attributes:
        layers: The encoder's layers.
        attention: What computes the heads from the hidden states. It returns a pair.
        projections: Its linear layers for queries, keys and values.
        attention_output: The linear layer that mixes the heads.
        feed_forward: What computes the neurons from the hidden states.
        expansion: The linear layer in it.
        contraction: The linear layer that mixes the neurons.
    """

    layers: str = "encoder.layer"
    attention: str = "attention.self"
    projections: tuple[str, ...] = tuple(f"attention.self.{n}" for n in ("query", "key", "value"))
    attention_output: str = "attention.output.dense"
    feed_forward: str = "intermediate"
    expansion: str = "intermediate.dense"
    contraction: str = "output.dense"


class Family:
    """An adapter between the project's tensors and one kind of `...ForQuestionAnswering`.

    A family sets what differs from BERT.

    Attributes:
        name: The name of the family, for messages.
        model_class: The class of transformers, which runs with eager attention.
        head: The names of the layers that make logits of hidden states.
        shares_head: Whether models for other tasks call layers so too, whose outputs may be two
            as well.
        fast_attention: The quickest implementation of attention that PyTorch has for it.
        layer_names: Where its layers can be pruned; None where its attention is not standard.
        no_smooth_quant: Why SmoothQuant is turned off; empty where it is on.
        keeps_floating_point: The layers that stay in floating point where a recipe does not say
            which, as its `quantization.keep_floating_point` has them.
        why_floating_point: What these lose in INT8.
    """

    name: ClassVar[str]
    model_class: ClassVar[type[PreTrainedModel]]
    head: ClassVar[tuple[str, ...]] = ("qa_outputs",)
    shares_head: ClassVar[bool] = False
    no_smooth_quant: ClassVar[str] = ""
    keeps_floating_point: ClassVar[tuple[str, ...]] = ()
    why_floating_point: ClassVar[str] = ""
    fast_attention: ClassVar[str] = "sdpa"
    layer_names: ClassVar[LayerNames | None] = None

    def has_token_types(self, config: Any) -> bool:
        """Return whether a model distinguishes the tokens of the question from the context's.

        Args:
            config: The model's configuration.
        """
        return bool(config.type_vocab_size > 1)

    def neurons(self, config: Any) -> int:
        """Return how many feed-forward neurons a layer has.

        Args:
            config: The model's configuration.
        """
        return int(config.intermediate_size)

    def inputs(self, config: Any) -> tuple[str, ...]:
        """Return the names of a model's inputs, in their order.

        Args:
            config: The model's configuration.
        """
        types = (TOKEN_TYPE_IDS,) if self.has_token_types(config) else ()
        return (INPUT_IDS, ATTENTION_MASK, *types)

    def positions(self, config: Any) -> range | None:
        """Return the rows of the position table that tokens take, in their order.

        Args:
            config: The model's configuration.

        Returns:
            The rows; None where a window may have any length.
        """
        return range(config.max_position_embeddings)

    def position_ids(self, config: Any) -> Tensor | None:
        """Return the position of every token of the longest window, and of its padding.

        Clients pad a window to a length of which the table may have no row. Padding is masked, so
        that it takes the last row; what is longer than that still does not fit.

        Args:
            config: The model's configuration.

        Returns:
            INT64 `[1, tokens]`; None where a window may have any length.
        """
        rows = self.positions(config)
        if rows is None:
            return None
        tokens = torch.arange(padded_length(len(rows)))[None]
        return (tokens + rows.start).clamp(max=rows.stop - 1)

    def mask(self, config: Any, attention_mask: Tensor) -> Any:
        """Return the mask as a model takes it.

        Args:
            config: The model's configuration.
            attention_mask: INT64 `[batch, tokens]`; 0 where a position is padding.

        Returns:
            What is added to attention scores, FP32 `[batch, 1, 1, tokens]`, unless the family has
            another form.
        """
        return additive_mask(attention_mask)

    def logits(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Run a model.

        Args:
            model: A model of the class `model_class`.
            input_ids: INT64 `[batch, tokens]`.
            attention_mask: INT64 `[batch, tokens]`; 0 where a position is padding.
            token_type_ids: INT64 `[batch, tokens]`; None where the model has none.
            position_ids: INT64 `[1, tokens]`; None where the model has none.

        Returns:
            The start logits and the end logits, FP32 `[batch, tokens]` each.
        """
        types = {} if token_type_ids is None else {TOKEN_TYPE_IDS: token_type_ids}
        output = model(
            input_ids=input_ids,
            attention_mask=self.mask(model.config, attention_mask),
            position_ids=position_ids,
            return_dict=True,
            **types,
        )
        return output.start_logits, output.end_logits

    def exporting(self) -> AbstractContextManager[None]:
        """Return a block in which models are traced; its code may differ from the training's."""
        return nullcontext()


def additive_mask(attention_mask: Tensor) -> Tensor:
    """Return what is added to attention scores.

    It is made here, because the mask code of transformers does not trace and no quantiser must
    touch the mask.

    Args:
        attention_mask: INT64 `[batch, tokens]`; 0 where a position is padding.

    Returns:
        FP32 `[batch, 1, 1, tokens]`.
    """
    return (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED
