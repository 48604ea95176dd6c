"""The two modules of an encoder layer as OpenVINO models of any size, to measure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

Precision = Literal["FP32", "INT8"]

VOCABULARY = 30_522
"""Word embeddings of the models that are measured; more or fewer cost the same."""

_LEVELS = 256
_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class Encoder:
    """What an encoder's layers have in common, in numbers.

    Attributes:
        hidden: The channels of a hidden state.
        heads: The attention heads of a layer that is not pruned.
        neurons: Its feed-forward neurons.
    """

    hidden: int
    heads: int
    neurons: int

    @property
    def head_size(self) -> int:
        """The channels of a head."""
        return self.hidden // self.heads


def attention_stack(encoder: Encoder, heads: int, copies: int, precision: Precision) -> ov.Model:
    """Return attention modules in a row, with random weights.

    Args:
        encoder: The encoder.
        heads: The heads that each has; 0 is a module that was dropped.
        copies: How many there are.
        precision: That of the matrix products.

    Returns:
        A model from hidden states FP32 `[batch, tokens, hidden]` and a mask
        `[batch, 1, 1, tokens]` to hidden states.
    """
    make = _Maker(encoder, precision)
    hidden, mask = make.hidden_states(), make.mask()
    state = hidden.output(0)
    for _ in range(copies):
        state = make.attention(state, mask, heads)
    return ov.Model([state], [hidden, mask], "attention")


def feed_forward_stack(
    encoder: Encoder, neurons: int, copies: int, precision: Precision
) -> ov.Model:
    """Return feed-forward modules in a row, with random weights.

    Args:
        encoder: The encoder.
        neurons: The neurons that each has; 0 is a module that was dropped.
        copies: How many there are.
        precision: That of the matrix products.

    Returns:
        A model from hidden states FP32 `[batch, tokens, hidden]` to hidden states.
    """
    make = _Maker(encoder, precision)
    hidden = make.hidden_states()
    state = hidden.output(0)
    for _ in range(copies):
        state = make.feed_forward(state, neurons)
    return ov.Model([state], [hidden], "feed_forward")


def whole_model(
    encoder: Encoder, layers: Sequence[tuple[int, int]], precision: Precision
) -> ov.Model:
    """Return a whole model with random weights: embeddings, layers and head.

    Args:
        encoder: The encoder.
        layers: The heads and the neurons of each layer; 0 is a module that was dropped.
        precision: That of the matrix products, and of the table of embeddings.

    Returns:
        A model from token ids INT64 `[batch, tokens]` and a mask FP32 `[batch, 1, 1, tokens]` to a
        start and an end logit of each token.
    """
    make = _Maker(encoder, precision)
    ids, mask = ops.parameter([-1, -1], np.int64, name="ids"), make.mask()
    table = make.weight(make.drawn(VOCABULARY, encoder.hidden))
    words = ops.gather(table, ids, ops.constant(0)).output(0)
    state = make.normalized(ops.add(words, make.drawn(encoder.hidden)).output(0))
    for heads, neurons in layers:
        state = make.feed_forward(make.attention(state, mask, heads), neurons)
    return ov.Model([make.linear(state, encoder.hidden, 2)], [ids, mask], "whole")


class _Maker:
    """Makes the operations that models have in common."""

    def __init__(self, encoder: Encoder, precision: Precision) -> None:
        self._encoder = encoder
        self._is_int8 = precision == "INT8"
        self._chance = np.random.default_rng(0)

    def hidden_states(self) -> ov.Node:
        return ops.parameter([-1, -1, self._encoder.hidden], np.float32, name="hidden")

    def mask(self) -> ov.Node:
        return ops.parameter([-1, 1, 1, -1], np.float32, name="mask")

    def attention(self, hidden: ov.Output, mask: ov.Node, heads: int) -> ov.Output:
        """Return hidden states behind an attention module, of which 0 heads leave a bias."""
        if not heads:
            return self._only_bias(hidden)
        size, channels = self._encoder.head_size, heads * self._encoder.head_size
        shape = ops.constant(np.array([0, 0, heads, size]))
        order = ops.constant(np.array([0, 2, 1, 3]))

        inputs = self.quantized(hidden)

        def projected() -> ov.Output:
            made = self.product(inputs, self._encoder.hidden, channels)
            return ops.transpose(ops.reshape(made, shape, True), order).output(0)

        query, key, value = projected(), projected(), projected()
        mixed = self._mixed(query, key, value, mask)
        merged = ops.reshape(
            ops.transpose(mixed, order), ops.constant(np.array([0, 0, channels])), True
        )
        added = self.linear(merged.output(0), channels, self._encoder.hidden)
        return self.normalized(ops.add(hidden, added).output(0))

    def _mixed(
        self, query: ov.Output, key: ov.Output, value: ov.Output, mask: ov.Node
    ) -> ov.Output:
        """Return the values by their probabilities: fused, but where quantisers part it."""
        if not self._is_int8:
            return ops.scaled_dot_product_attention(query, key, value, mask).output(0)
        product = ops.matmul(self.quantized(query), self.quantized(key), False, True)
        scale = np.float32(self._encoder.head_size**-0.5)
        scores = ops.softmax(ops.add(ops.multiply(product, scale), mask), -1)
        low, high = np.float32(0), np.float32(1)
        probabilities = ops.fake_quantize(scores, low, high, low, high, _LEVELS)
        return ops.matmul(probabilities, self.quantized(value), False, False).output(0)

    def feed_forward(self, hidden: ov.Output, neurons: int) -> ov.Output:
        """Return hidden states behind a feed-forward module, of which 0 neurons leave a bias."""
        if not neurons:
            return self._only_bias(hidden)
        expanded = ops.gelu(self.linear(hidden, self._encoder.hidden, neurons), "erf")
        added = self.linear(expanded.output(0), neurons, self._encoder.hidden)
        return self.normalized(ops.add(hidden, added).output(0))

    def _only_bias(self, hidden: ov.Output) -> ov.Output:
        bias = ops.constant(self.drawn(self._encoder.hidden))
        return self.normalized(ops.add(hidden, bias).output(0))

    def drawn(self, *shape: int) -> NDArray[np.float32]:
        return self._chance.normal(scale=0.02, size=shape).astype(np.float32)

    def linear(self, hidden: ov.Output, inputs: int, outputs: int) -> ov.Output:
        """Return a linear layer's outputs, behind a quantiser of its inputs."""
        return self.product(self.quantized(hidden), inputs, outputs)

    def product(self, hidden: ov.Output, inputs: int, outputs: int) -> ov.Output:
        weight = self.weight(self.drawn(outputs, inputs))
        product = ops.matmul(hidden, weight, False, True)
        return ops.add(product, ops.constant(self.drawn(outputs))).output(0)

    def quantized(self, values: ov.Output) -> ov.Output:
        """Return activations with a quantiser behind them, asymmetric as NNCF's `mixed` preset."""
        if not self._is_int8:
            return values
        low, high = np.float32(-3.9), np.float32(4.1)
        return ops.fake_quantize(values, low, high, low, high, _LEVELS).output(0)

    def normalized(self, values: ov.Output) -> ov.Output:
        channels = self._encoder.hidden
        axes = ops.constant(np.array([-1]))
        found = ops.mvn(values, axes, True, _EPSILON, "inside_sqrt")
        scaled = ops.multiply(found, ops.constant(1 + self.drawn(channels)))
        return ops.add(scaled, ops.constant(self.drawn(channels))).output(0)

    def weight(self, weight: NDArray[np.float32]) -> ov.Output:
        """Return a table `[rows, columns]`, in INT8 with a scale for each row."""
        if not self._is_int8:
            return ops.constant(weight).output(0)
        scale = np.abs(weight).max(axis=1, keepdims=True) / 127
        whole = ops.convert(ops.constant(np.round(weight / scale).astype(np.int8)), np.float32)
        return ops.multiply(whole, ops.constant(scale)).output(0)
