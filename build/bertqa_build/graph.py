"""Finding a way through the graph of an IR: its products, and the quantisers before them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import openvino as ov

MATMUL = "MatMul"
ATTENTION = "ScaledDotProductAttention"
FAKE_QUANTIZE = "FakeQuantize"
QUERIES_KEYS = "queries x keys"
DISTANCES = "distances"
PROBABILITIES_VALUES = "probabilities x values"
PASSED_THROUGH = {"Transpose", "Reshape", "Convert", "Multiply", "Subtract", "Unsqueeze", "Tile"}
"""What stands between a quantiser, or stored weights, and the product that they feed."""

_LAYER = re.compile(
    r"(?<!\w)((?:embeddings|encoder|transformer|layers|qa_outputs|head|classifier)[\w.]*)"
)


def short(name: str) -> str:
    """Drop what a tracer puts around a layer's own name.

    Args:
        name: The friendly name of an operation.

    Returns:
        The name as a recipe's `keep_floating_point` knows it.
    """
    match = _LAYER.search(name)
    return match[1] if match else name.rpartition("/")[2]


def is_kept(pattern: str, *names: str) -> bool:
    """Return whether a pattern of `keep_floating_point` fits a layer by one of its names.

    Args:
        pattern: The pattern.
        *names: The names.
    """
    return any(pattern == name or re.search(pattern, name) for name in names)


def products(graph: ov.Model) -> Iterator[ov.Node]:
    """Yield the matrix products of a graph, and its fused attentions, in its order.

    Args:
        graph: The IR.
    """
    for operation in graph.get_ordered_ops():
        if operation.get_type_name() in (MATMUL, ATTENTION):
            yield operation


def operands(product: ov.Node) -> list[ov.Input]:
    """Return the inputs of a product that are multiplied; for attention also the values.

    Args:
        product: What `products` yields.
    """
    count = 2 if product.get_type_name() == MATMUL else 3
    return list(product.inputs())[:count]


def way_back(port: ov.Input) -> Iterator[ov.Input]:
    """Yield inputs from one back to where its value comes from: a quantiser, or another operation.

    Args:
        port: The input to begin with, which is the first.
    """
    yield port
    while port.get_source_output().get_node().get_type_name() in PASSED_THROUGH:
        port = port.get_source_output().get_node().input(0)
        yield port


def origin(port: ov.Input) -> ov.Node:
    """Return the operation that the value of an input comes from, past what only moves it.

    Args:
        port: The input.
    """
    *_, last = way_back(port)
    return last.get_source_output().get_node()


def is_quantizer(node: ov.Node) -> bool:
    """Return whether an operation quantises an activation.

    Args:
        node: The operation.
    """
    return bool(node.get_type_name() == FAKE_QUANTIZE)


def labels(graph: ov.Model) -> dict[str, str]:
    """Return what to call each of a graph's products, in its order, by their friendly names.

    A product of weights has the name of its layer. The products of an attention have that of the
    attention, and which one it is in brackets; one that is fused is called by its first product,
    on which its quantisers decide.

    Args:
        graph: The IR.
    """
    operations = list(products(graph))
    layers = {short(operation.get_friendly_name()) for operation in operations}
    distances: Counter[str] = Counter()
    found = {}
    for operation in operations:
        name = operation.get_friendly_name()
        layer = short(name)
        if operation.get_type_name() == ATTENTION:
            layer += f" ({QUERIES_KEYS})"
        elif any(other.startswith(f"{layer}.") for other in layers):
            part = _part_of_attention(operands(operation))
            if part is None:
                distances[layer] += 1
                part = f"{DISTANCES} {distances[layer]}"
            layer += f" ({part})"
        found[name] = layer
    return found


def _part_of_attention(inputs: list[ov.Input]) -> str | None:
    """Return which product of an attention takes these inputs; None where one is a weight."""
    sources = [_before_quantizers(port).get_type_name() for port in inputs]
    if sources[0] == "Softmax":
        return PROBABILITIES_VALUES
    return None if "Constant" in sources else QUERIES_KEYS


def _before_quantizers(port: ov.Input) -> ov.Node:
    """Return the operation that a value comes from, past quantisers."""
    node = origin(port)
    while is_quantizer(node):
        node = origin(node.input(0))
    return node
