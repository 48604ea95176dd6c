"""Pruning without training: the best that the weights of a model can do in less time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bertqa.artifact import ATTENTION_MASK
from bertqa_build.model import SpanModel
from bertqa_build.pruning.second_order import Moments, Removal, refit, removal
from bertqa_build.pruning.sizes import (
    CONFIG_KEY,
    EncoderLayer,
    LayerSize,
    Sizes,
    channels_of,
    encoder_layers,
    to_config,
)
from bertqa_build.pruning.statistics import input_moments

Batches = Sequence[dict[str, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class _Module:
    """The attention or the feed-forward part of a layer."""

    moments: Moments
    removal: Removal


class Pruner:
    """Makes smaller models of one model, each from the model itself.

    Args:
        model: The model, which is not changed.
        inputs: Calibration data: the model's inputs, in batches.
        judged: Those on which pruned copies are judged; all of them if left out.
        on_step: Called with the number of steps that are done, and how many there are.

    Attributes:
        model: The model.
        layers: How many layers its encoder has.
        head_size: The channels of a head.
    """

    def __init__(
        self,
        model: SpanModel,
        inputs: Batches,
        judged: Batches | None = None,
        on_step: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        self.model = model.eval()
        config = model.model.config
        self.head_size: int = config.hidden_size // config.num_attention_heads
        layers = encoder_layers(model.model, model.family)
        self._modules: dict[tuple[int, bool], _Module] = {}
        self.layers = len(layers)
        parts = {
            (index, is_attention): mixing
            for index, layer in enumerate(layers)
            for is_attention, mixing in ((True, layer.attention_output), (False, layer.contraction))
            if mixing is not None
        }
        outputs = list(parts.values())
        steps = len(inputs) + len(outputs)
        moments = input_moments(model, outputs, inputs, lambda done: on_step(done, steps))
        self._inputs = inputs if judged is None else judged
        self._refits: dict[tuple[int, bool, int], tuple[Tensor, Tensor]] = {}
        for key, each in zip(parts, moments, strict=True):
            linear, group = parts[key], self.head_size if key[1] else 1
            found = removal(linear.weight.detach(), linear.bias.detach(), each, group)
            self._modules[key] = _Module(each, found)
            on_step(len(inputs) + len(self._modules), steps)
        self._targets = _run(model, self._inputs)

    def removal(self, layer: int, *, attention: bool) -> Removal:
        """Return in which order a layer's structures go, and what that costs.

        Args:
            layer: The layer's index.
            attention: Whether it is about the heads, not the neurons.

        Returns:
            The removal; one of nothing where the module was dropped before.
        """
        found = self._modules.get((layer, attention))
        return Removal((), torch.zeros(1, dtype=torch.float64)) if found is None else found.removal

    def pruned(self, sizes: Sizes) -> SpanModel:
        """Return a copy of the model with layers of these sizes.

        Args:
            sizes: The size of each layer.

        Returns:
            The copy, which shares the parameters that are the same with the model.
        """
        pruned = self.model.sharing_copy()
        layers = encoder_layers(pruned.model, pruned.family)
        for index, (layer, size) in enumerate(zip(layers, sizes, strict=True)):
            self._prune(layer, index, size)
        setattr(pruned.model.config, CONFIG_KEY, to_config(sizes))
        return pruned.eval()

    def independent(self, sizes: Sizes) -> SpanModel:
        """Return such a copy that shares nothing with the model, to be trained.

        Args:
            sizes: The size of each layer.
        """
        return copy.deepcopy(self.pruned(sizes)).requires_grad_(True)

    def loss(self, sizes: Sizes) -> float:
        """Return how far the answers of a pruned copy are from the model's own.

        Args:
            sizes: The size of each layer.

        Returns:
            The mean Kullback-Leibler divergence over starts and ends of the calibration windows.
        """
        return self.divergence(self.pruned(sizes))

    def divergence(self, other: SpanModel) -> float:
        """Return how far the answers of another model are from the model's own; see `loss`.

        Args:
            other: A model with the same inputs.
        """
        found = _run(other, self._inputs)
        total, count = 0.0, 0
        for (logits, mask), (targets, _) in zip(found, self._targets, strict=True):
            hidden = ~mask.bool()
            for ours, theirs in zip(logits, targets, strict=True):
                student = ours.masked_fill(hidden, -torch.inf).log_softmax(-1)
                teacher = theirs.masked_fill(hidden, -torch.inf).log_softmax(-1)
                student, teacher = student[mask.bool()], teacher[mask.bool()]
                total += float(
                    functional.kl_div(student, teacher, reduction="sum", log_target=True)
                )
            count += 2 * len(mask)
        return total / count

    def _prune(self, layer: EncoderLayer, index: int, size: LayerSize) -> None:
        heads, neurons = (self.removal(index, attention=each) for each in (True, False))
        if size.heads < len(heads.order):
            kept = heads.kept(size.heads)
            layer.keep_heads(
                kept, self.head_size, self._refitted(layer, index, kept, attention=True)
            )
        if size.neurons < len(neurons.order):
            kept = neurons.kept(size.neurons)
            layer.keep_neurons(kept, self._refitted(layer, index, kept, attention=False))

    def _refitted(
        self, layer: EncoderLayer, index: int, kept: list[int], *, attention: bool
    ) -> tuple[Tensor, Tensor]:
        key = index, attention, len(kept)
        if key not in self._refits:
            mixing = layer.attention_output if attention else layer.contraction
            assert mixing is not None
            self._refits[key] = refit(
                mixing.weight.detach(),
                mixing.bias.detach(),
                self._modules[index, attention].moments,
                channels_of(kept, self.head_size if attention else 1),
            )
        return self._refits[key]


def _run(model: SpanModel, inputs: Batches) -> list[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Return a model's logits for each batch, with the batch's attention mask."""
    with torch.no_grad():
        return [(model(**batch), batch[ATTENTION_MASK]) for batch in inputs]
