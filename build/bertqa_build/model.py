"""The model that is trained, quantised and exported: any family with the project's tensors."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertqa.artifact import INPUT_IDS, TOKEN_TYPE_IDS
from bertqa.errors import DataError
from bertqa_build.families import family_of


class SpanModel(nn.Module):
    """A question-answering model with the inputs and outputs of the project's tensor contract.

    Args:
        model: A model of a family of `bertqa_build.families`, with eager attention. It is not
            copied.

    Attributes:
        model: The model.
        family: Its family.
        inputs: The names of its inputs, in their order.
        vocabulary: The number of tokens that it has embeddings of.
    """

    position_ids: Tensor | None

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.family = family_of(model.config.model_type)
        self.inputs = self.family.inputs(model.config)
        self.vocabulary: int = model.config.vocab_size
        positions = self.family.position_ids(model.config)
        self.register_buffer("position_ids", positions, persistent=False)

    @property
    def config(self) -> Any:
        """The model's configuration, for what the Trainer and its integrations read of it."""
        return self.model.config

    @property
    def described(self) -> dict[str, Any]:
        """The configuration for other tools, without where it was loaded from."""
        described: dict[str, Any] = json.loads(self.config.to_json_string())
        described.pop("_name_or_path", None)
        return {**described, "architectures": [type(self.model).__name__]}

    def inputs_of(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a batch's tensors for this model, in the order of its inputs.

        Args:
            batch: The tensors by name. Token types that are missing are 0, as in transformers.

        Raises:
            DataError: Another input is missing.
        """
        found = dict(batch)
        if INPUT_IDS in found:
            found.setdefault(TOKEN_TYPE_IDS, torch.zeros_like(found[INPUT_IDS]))
        missing = [name for name in self.inputs if name not in found]
        if missing:
            raise DataError(
                f"The items of the data set have no {missing[0]}; a {self.family.name} model needs "
                f"{', '.join(self.inputs)}."
            )
        return {name: found[name] for name in self.inputs}

    def sharing_copy(self) -> SpanModel:
        """Return a copy with modules of its own, which shares the parameters with this model."""
        shared: dict[int, object] = {id(each): each for each in self.parameters()}
        return copy.deepcopy(self, shared)

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of word embeddings, for the Trainer's `neftune_noise_alpha`."""
        return self.model.get_input_embeddings()

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Compute layers again in the backward pass, for the Trainer's `gradient_checkpointing`.

        Args:
            gradient_checkpointing_kwargs: Those of `torch.utils.checkpoint.checkpoint`.
        """
        model: Any = self.model
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Score every token as the start and as the end of the answer.

        Args:
            input_ids: INT64 `[batch, tokens]`.
            attention_mask: INT64 `[batch, tokens]`; 0 where a position is padding.
            token_type_ids: INT64 `[batch, tokens]`; 0 in the question, 1 in the context. Only a
                model that has this input takes it.

        Returns:
            The start logits and the end logits, FP32 `[batch, tokens]` each.
        """
        positions = self.position_ids
        if positions is not None:
            positions = positions[:, : input_ids.shape[1]]
        return self.family.logits(self.model, input_ids, attention_mask, token_type_ids, positions)


def as_span_model(model: PreTrainedModel | SpanModel) -> SpanModel:
    """Return `model` with the project's inputs and outputs: itself if it has them already."""
    return model if isinstance(model, SpanModel) else SpanModel(model)
