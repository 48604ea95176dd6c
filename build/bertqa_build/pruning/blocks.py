"""The two modules of an encoder layer as OpenVINO models of any size, to measure them."""

from __future__ import annotations

from collections.abc import Callable
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
    make = _Maker(precision)
    mask = ops.parameter([-1, 1, 1, -1], np.float32, name="mask")

    def attention(hidden: ov.Output) -> ov.Output:
        channels = heads * encoder.head_size
        shape = ops.constant(np.array([0, 0, heads, encoder.head_size]))

        def projected() -> ov.Output:
            split = ops.reshape(make.linear(hidden, encoder.hidden, channels), shape, True)
            return ops.transpose(split, ops.constant(np.array([0, 2, 1, 3]))).output(0)

        query, key, value = projected(), projected(), projected()
        scores = ops.matmul(make.quantized(query), make.quantized(key), False, True)
        scores = ops.multiply(scores, np.float32(encoder.head_size**-0.5))
        weights = ops.softmax(ops.add(scores, mask), -1)
        mixed = ops.matmul(weights, make.quantized(value), False, False)
        merged = ops.reshape(
            ops.transpose(mixed, ops.constant(np.array([0, 2, 1, 3]))),
            ops.constant(np.array([0, 0, channels])),
            True,
        )
        return make.linear(merged.output(0), channels, encoder.hidden)

    return _stack(encoder, copies, attention if heads else None, make, mask)


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
    make = _Maker(precision)

    def feed_forward(hidden: ov.Output) -> ov.Output:
        expanded = ops.gelu(make.linear(hidden, encoder.hidden, neurons), "erf")
        return make.linear(expanded.output(0), neurons, encoder.hidden)

    return _stack(encoder, copies, feed_forward if neurons else None, make)


def rest_model(encoder: Encoder, precision: Precision) -> ov.Model:
    """Return what is there beside the layers, with random weights: the embeddings and the head.

    Args:
        encoder: The encoder.
        precision: That of the matrix products, and of the table of embeddings.

    Returns:
        A model from token ids INT64 `[batch, tokens]` to a start and an end logit of each.
    """
    make = _Maker(precision)
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    table = make.weight(make.drawn(VOCABULARY, encoder.hidden))
    words = ops.gather(table, ids, ops.constant(0)).output(0)
    state = make.normalized(ops.add(words, make.drawn(encoder.hidden)).output(0), encoder.hidden)
    return ov.Model([make.linear(state, encoder.hidden, 2)], [ids], "rest")


def _stack(
    encoder: Encoder,
    copies: int,
    module: Callable[[ov.Output], ov.Output] | None,
    make: _Maker,
    *others: ov.Node,
) -> ov.Model:
    hidden = ops.parameter([-1, -1, encoder.hidden], np.float32, name="hidden")
    state = hidden.output(0)
    for _ in range(copies):
        bias = make.drawn(encoder.hidden) if module is None else None
        added = ops.constant(bias).output(0) if bias is not None else module(state)  # type: ignore[misc]
        state = make.normalized(ops.add(state, added).output(0), encoder.hidden)
    return ov.Model([state], [hidden, *others], "stack")


class _Maker:
    """Makes the operations that both modules have."""

    def __init__(self, precision: Precision) -> None:
        self._is_int8 = precision == "INT8"
        self._chance = np.random.default_rng(0)

    def drawn(self, *shape: int) -> NDArray[np.float32]:
        return self._chance.normal(scale=0.02, size=shape).astype(np.float32)

    def linear(self, hidden: ov.Output, inputs: int, outputs: int) -> ov.Output:
        weight = self.drawn(outputs, inputs)
        product = ops.matmul(self.quantized(hidden), self.weight(weight), False, True)
        return ops.add(product, ops.constant(self.drawn(outputs))).output(0)

    def quantized(self, values: ov.Output) -> ov.Output:
        """Return activations with a quantiser behind them, asymmetric as NNCF's `mixed` preset."""
        if not self._is_int8:
            return values
        low, high = np.float32(-3.9), np.float32(4.1)
        return ops.fake_quantize(values, low, high, low, high, _LEVELS).output(0)

    def normalized(self, values: ov.Output, channels: int) -> ov.Output:
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
