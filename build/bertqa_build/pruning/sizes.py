"""How large each layer of a pruned encoder is, and making a model's layers that small."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bertqa_build.families import Family, LayerNames, family_of

CONFIG_KEY = "bertqa_pruning"
"""The key of a checkpoint's `config.json` that has the sizes of its layers."""


@dataclass(frozen=True, slots=True)
class LayerSize:
    """What is left of one encoder layer; 0 where a module is dropped as a whole."""

    heads: int
    neurons: int


Sizes = tuple[LayerSize, ...]


def to_config(sizes: Sizes) -> dict[str, list[int]]:
    """Return sizes as a value for `config.json`.

    Args:
        sizes: The size of each layer.
    """
    return {
        "heads": [size.heads for size in sizes],
        "neurons": [size.neurons for size in sizes],
    }


def from_config(config: Any) -> Sizes | None:
    """Return the sizes that a configuration has, None where it is that of an unpruned model.

    Args:
        config: The configuration of a checkpoint.

    Raises:
        ValueError: They are not sizes, or not those of so many layers.
    """
    stored = getattr(config, CONFIG_KEY, None)
    if stored is None:
        return None
    try:
        heads, neurons = list(map(int, stored["heads"])), list(map(int, stored["neurons"]))
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{CONFIG_KEY} does not have the sizes of layers.") from error
    if not all(
        0 <= size <= most
        for sizes, most in (
            (heads, config.num_attention_heads),
            (neurons, family_of(config.model_type).neurons(config)),
        )
        for size in sizes
    ):
        raise ValueError(f"{CONFIG_KEY} has sizes that a layer cannot have.")
    if not len(heads) == len(neurons) == config.num_hidden_layers:
        raise ValueError(f"{CONFIG_KEY} has the sizes of another number of layers.")
    return tuple(map(LayerSize, heads, neurons))


def sizes_of(model: PreTrainedModel) -> Sizes:
    """Return the size of each layer of a model, pruned or not.

    Args:
        model: A model of a family that can be pruned.
    """
    config = model.config
    family = family_of(config.model_type)
    head_size = config.hidden_size // config.num_attention_heads
    return tuple(layer.size(head_size) for layer in encoder_layers(model, family))


class EncoderLayer:
    """The linear layers of one encoder layer, by what they do, whatever the family calls them.

    Args:
        layer: The layer.
        names: Where they are.
    """

    def __init__(self, layer: nn.Module, names: LayerNames) -> None:
        self._layer = layer
        self._names = names

    def size(self, head_size: int) -> LayerSize:
        """Return what is left of the layer.

        Args:
            head_size: The number of channels of a head.
        """
        attention, feed_forward = self.attention_output, self.contraction
        return LayerSize(
            0 if attention is None else attention.in_features // head_size,
            0 if feed_forward is None else feed_forward.in_features,
        )

    @property
    def attention_output(self) -> nn.Linear | None:
        """What mixes the heads; None where the attention was dropped."""
        return self._mixing(self._names.attention_output)

    @property
    def expansion(self) -> nn.Linear:
        """The first feed-forward layer: its outputs are the neurons."""
        expansion: nn.Linear = self._linear(self._names.expansion)
        return expansion

    @property
    def contraction(self) -> nn.Linear | None:
        """The second feed-forward layer, which mixes the neurons; None where it was dropped."""
        return self._mixing(self._names.contraction)

    @property
    def module(self) -> nn.Module:
        """The layer itself, which returns its hidden states, alone or first in a tuple."""
        return self._layer

    def keep_heads(
        self, kept: Sequence[int], head_size: int, output: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Remove all heads but some.

        Args:
            kept: The heads that stay, in ascending order.
            head_size: The number of channels of a head.
            output: The weight and the bias that mix those that stay; the ones that are there if
                left out.
        """
        channels = channels_of(kept, head_size)
        mixing = self._mixed(self.attention_output, channels, output)
        if mixing is None:
            return
        if not kept:
            self._drop(self._names.attention, self._names.attention_output, mixing[1])
            return
        for name in self._names.projections:
            self._set(name, _with_outputs(self._linear(name), channels))
        self._set(self._names.attention_output, _linear(*mixing))

    def keep_neurons(
        self, kept: Sequence[int], output: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Remove all neurons but some.

        Args:
            kept: The neurons that stay, in ascending order.
            output: The weight and the bias that mix those that stay; the ones that are there if
                left out.
        """
        channels = channels_of(kept, 1)
        mixing = self._mixed(self.contraction, channels, output)
        if mixing is None:
            return
        if not kept:
            self._drop(self._names.feed_forward, self._names.contraction, mixing[1])
            return
        self._set(self._names.expansion, _with_outputs(self.expansion, channels))
        self._set(self._names.contraction, _linear(*mixing))

    def _drop(self, module: str, output: str, bias: Tensor) -> None:
        """Let a module add nothing but a bias."""
        if output.startswith(f"{module}."):
            returns_pair = module == self._names.attention
            self._set(module, OnlyBias(bias, returns_pair=returns_pair))
            return
        self._set(module, PassOn(returns_pair=module == self._names.attention))
        self._set(output, OnlyBias(bias))

    def _linear(self, name: str) -> Any:
        return self._layer.get_submodule(name)

    def _mixing(self, name: str) -> nn.Linear | None:
        try:
            found = self._layer.get_submodule(name)
        except AttributeError:  # An OnlyBias took the place of what it was in.
            return None
        return found if isinstance(found, nn.Linear) else None

    def _mixed(
        self, mixing: nn.Linear | None, channels: Tensor, output: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor] | None:
        """Return what mixes those that stay: a weight, a bias; None where nothing can go."""
        if mixing is None:
            return None
        return (mixing.weight[:, channels], mixing.bias) if output is None else output

    def _set(self, name: str, module: nn.Module) -> None:
        parent, _, child = name.rpartition(".")
        setattr(self._layer.get_submodule(parent), child, module)


class OnlyBias(nn.Module):
    """What is left of a module that was dropped: the mean of what it added.

    Args:
        bias: FP32 `[hidden]`.
        returns_pair: Whether the module returned attention weights too.
    """

    def __init__(self, bias: Tensor, *, returns_pair: bool = False) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias.detach().clone())
        self._returns_pair = returns_pair

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        """Return the bias for every token: FP32 `[hidden]`, which is added to each.

        Args:
            hidden_states: Not used.
            *_: Not used.
            **__: Not used.
        """
        return (self.bias, None) if self._returns_pair else self.bias


class PassOn(nn.Module):
    """Stands in front of an `OnlyBias`.

    Args:
        returns_pair: Whether the module in its place returned attention weights too.
    """

    def __init__(self, *, returns_pair: bool = False) -> None:
        super().__init__()
        self._returns_pair = returns_pair

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        """Return its input.

        Args:
            hidden_states: What is returned.
            *_: Not used.
            **__: Not used.
        """
        return (hidden_states, None) if self._returns_pair else hidden_states


def encoder_layers(model: PreTrainedModel, family: Family) -> list[EncoderLayer]:
    """Return the layers of a model's encoder.

    Args:
        model: The model, of a family whose attention is standard.
        family: Its family.
    """
    names = family.layer_names
    assert names is not None
    layers: Any = model.base_model.get_submodule(names.layers)
    return [EncoderLayer(layer, names) for layer in layers]


def shrink(model: PreTrainedModel, family: Family, sizes: Sizes) -> None:
    """Make the layers of a model with any weights this small, to load a pruned checkpoint.

    Args:
        model: The model, which is changed in place.
        family: Its family.
        sizes: The size of each layer.
    """
    head_size = model.config.hidden_size // model.config.num_attention_heads
    for layer, size in zip(encoder_layers(model, family), sizes, strict=True):
        layer.keep_heads(range(size.heads), head_size)
        layer.keep_neurons(range(size.neurons))
    setattr(model.config, CONFIG_KEY, to_config(sizes))


@functools.cache
def _pruned_class(plain: Any) -> type[PreTrainedModel]:
    """Return a class of models whose layers have the sizes that their configuration says."""

    def init(self: PreTrainedModel, config: Any, *arguments: Any, **options: Any) -> None:
        plain.__init__(self, config, *arguments, **options)
        sizes = from_config(config)
        assert sizes is not None
        shrink(self, family_of(config.model_type), sizes)

    # Checkpoints name the class: readers without this project see which one they lack sizes of.
    return type(plain.__name__, (plain,), {"__init__": init, "__module__": plain.__module__})


def model_class_of(config: Any) -> type[PreTrainedModel]:
    """Return the class that reads a checkpoint, pruned or not.

    Args:
        config: The checkpoint's configuration, of a family that can be built.

    Raises:
        ValueError: Its sizes are not sizes, or its family cannot be pruned.
    """
    family = family_of(config.model_type)
    if from_config(config) is None:
        return family.model_class
    if family.layer_names is None:
        raise ValueError(f"{family.name} cannot be pruned, and its configuration says it was.")
    plain: Any = family.model_class
    return _pruned_class(plain)


def channels_of(heads: Sequence[int], head_size: int) -> Tensor:
    """Return the channels of some heads, INT64 `[heads * head_size]`.

    Args:
        heads: The heads.
        head_size: The number of channels of a head.
    """
    first = torch.tensor(heads, dtype=torch.int64) * head_size
    return (first[:, None] + torch.arange(head_size)).flatten()


def _with_outputs(linear: nn.Linear, channels: Tensor) -> nn.Linear:
    return _linear(linear.weight[channels], linear.bias[channels])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer with copies of a weight `[outputs, inputs]` and a bias."""
    outputs, inputs = weight.shape
    made = nn.Linear(inputs, outputs)
    made.weight = nn.Parameter(weight.detach().clone())
    made.bias = nn.Parameter(bias.detach().clone())
    return made
