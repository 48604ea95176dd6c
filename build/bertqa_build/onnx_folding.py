"""Storing a quantised ONNX graph's weights as the INT8 values that it computes from them.

`torch.onnx.export` leaves a weight in FP32 with a QuantizeLinear and a DequantizeLinear behind it,
which keeps the file large. Here the weight becomes INT8 with a DequantizeLinear alone, and a
quantised embedding is looked up before it is scaled, so that only the rows in use are touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, helper, numpy_helper

Array = NDArray[Any]


def fold_quantized_weights(graph: GraphProto) -> None:
    """Store quantised weights as INT8, in place; the graph computes the same values.

    Args:
        graph: What `torch.onnx.export` made of a model that NNCF quantised.
    """
    _Folding(graph).run()


class _Folding:
    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.constants: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.nodes: list[NodeProto] = list(graph.node)
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        self.replaced: dict[int, list[NodeProto]] = {}

    def run(self) -> None:
        self._fold_constants()
        for node in _every(self.nodes):
            for name in node.input:
                self.consumers[name].append(node)
        for node in self.nodes:
            if node.op_type == "QuantizeLinear" and node.input[0] in self.constants:
                self._fold_weight(node)
        kept = [new for node in self.nodes for new in self.replaced.get(id(node), [node])]
        del self.graph.node[:]
        self.graph.node.extend(kept)
        used = {name for node in _every(kept) for name in node.input}
        del self.graph.initializer[:]
        self.graph.initializer.extend(
            numpy_helper.from_array(value, name)
            for name, value in self.constants.items()
            if name in used
        )

    def _fold_constants(self) -> None:
        """Make initialisers of Constant nodes, and drop the Identity nodes."""
        renamed: dict[str, str] = {}
        remaining = []
        outputs = {output.name for output in self.graph.output}
        for node in self.nodes:
            for each in _every([node]):
                for index, name in enumerate(each.input):
                    each.input[index] = renamed.get(name, name)
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type == "Identity" and node.output[0] not in outputs:
                renamed[node.output[0]] = node.input[0]
            else:
                remaining.append(node)
        self.nodes = remaining

    def _fold_weight(self, quantize: NodeProto) -> None:
        (dequantize,) = self.consumers[quantize.output[0]]
        (user,) = self.consumers[dequantize.output[0]]
        name = quantize.input[0]
        scale, zero = (self.constants[each] for each in quantize.input[1:3])
        axis = next((each.i for each in quantize.attribute if each.name == "axis"), 1)
        values = _quantize(self.constants[name], scale, zero, axis)
        self.replaced[id(quantize)] = []
        if user.op_type == "Gather":
            self._fold_embedding(name, values, scale, zero, axis, dequantize, user)
            return
        if user.op_type == "Transpose":
            values, axis = np.ascontiguousarray(values.T), values.ndim - 1 - axis
            self.replaced[id(user)] = []
        weight = f"{name}.int8"
        self.constants[weight] = values
        output = user.output[0] if user.op_type == "Transpose" else dequantize.output[0]
        self.replaced[id(dequantize)] = [
            helper.make_node(
                "DequantizeLinear",
                [weight, *dequantize.input[1:3]],
                [output],
                name=dequantize.name,
                axis=axis,
            )
        ]

    def _fold_embedding(
        self,
        name: str,
        values: Array,
        scale: Array,
        zero: Array,
        axis: int,
        dequantize: NodeProto,
        gather: NodeProto,
    ) -> None:
        """`Gather(Dequantize(table), ids)` becomes `Gather(table, ids) * Gather(scale, ids)`."""
        if axis != 0 or zero.any():
            raise ValueError(f"the embedding {name} is not quantised symmetrically, row by row")
        ids = gather.input[1]
        self.constants[f"{name}.int8"] = values
        self.constants[f"{name}.scale"] = np.broadcast_to(scale, len(values))[:, None].copy()
        self.replaced[id(dequantize)] = []
        self.replaced[id(gather)] = [
            helper.make_node("Gather", [f"{name}.int8", ids], [f"{name}.rows"], axis=0),
            helper.make_node("Cast", [f"{name}.rows"], [f"{name}.float"], to=1),
            helper.make_node("Gather", [f"{name}.scale", ids], [f"{name}.scales"], axis=0),
            helper.make_node("Mul", [f"{name}.float", f"{name}.scales"], [gather.output[0]]),
        ]


def _every(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes, and those of the branches that they contain, which see the same names."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from _every(attribute.g.node)


def _quantize(weight: Array, scale: Array, zero: Array, axis: int) -> Array:
    """Return what QuantizeLinear computes, per tensor or per channel of `axis`."""
    shape = [1] * weight.ndim
    if scale.size > 1:
        shape[axis] = -1
    limits = np.iinfo(zero.dtype)
    levels = np.rint(weight / scale.reshape(shape)) + zero.reshape(shape)
    quantized: Array = np.clip(levels, limits.min, limits.max).astype(zero.dtype)
    return quantized
