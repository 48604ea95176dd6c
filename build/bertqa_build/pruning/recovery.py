"""Training a pruned model to answer as the unpruned one does, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from bertqa.artifact import ATTENTION_MASK
from bertqa_build.model import SpanModel
from bertqa_build.pruning.sizes import encoder_layers
from bertqa_build.recipe import Distillation
from bertqa_build.training import QATrainer


class RecoveryTrainer(QATrainer):
    """A `QATrainer` that also learns the hidden states behind every encoder layer.

    Each layer's hidden states are compared with those of the same layer of the teacher: the mean
    squared difference over the tokens that are not padding, divided by the teacher's own mean
    square, the mean over the layers (as ZipLM's token-level distillation).

    Args:
        model: The pruned model.
        args: The Trainer's arguments.
        teacher: The unpruned model.
        distillation: How much to learn from the teacher's logits.
        hidden: What the hidden states count, beside a loss of the logits that counts 1.
        **kwargs: See `QATrainer`.
    """

    def __init__(
        self,
        model: SpanModel,
        args: TrainingArguments,
        *,
        teacher: SpanModel,
        distillation: Distillation,
        hidden: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, args, teacher=teacher, distillation=distillation, **kwargs)
        self._hidden = hidden

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the loss of a batch; see `QATrainer.compute_loss`."""
        student, teacher = self.accelerator.unwrap_model(model), self.teacher
        assert teacher is not None
        with _hidden_states(student) as found, _hidden_states(teacher) as taught:
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        added = self._hidden * hidden_loss(found, taught, inputs[ATTENTION_MASK].bool())
        return (result[0] + added, result[1]) if return_outputs else result + added


def hidden_loss(found: Sequence[Tensor], taught: Sequence[Tensor], is_token: Tensor) -> Tensor:
    """Compare the hidden states of two models.

    Args:
        found: Those of the student, FP32 `[batch, tokens, hidden]` for each layer.
        taught: Those of the teacher.
        is_token: BOOL `[batch, tokens]`: False where a position is padding.

    Returns:
        A scalar: 0 where they are the same, about 1 where the student's are zero.
    """
    losses = [
        ((one[is_token] - other[is_token]) ** 2).mean() / (other[is_token] ** 2).mean()
        for one, other in zip(found, taught, strict=True)
    ]
    return torch.stack(losses).mean()


@contextmanager
def _hidden_states(model: SpanModel) -> Iterator[list[Tensor]]:
    """Yield a list that gets the hidden states behind each encoder layer in the block."""
    states: list[Tensor] = []

    def hear(_: nn.Module, __: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    layers = encoder_layers(model.model, model.family)
    handles = [layer.module.register_forward_hook(hear) for layer in layers]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()
