"""Which operations of a model a recipe's `keep_floating_point` leaves in floating point."""

from __future__ import annotations

import copy
import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch
from nncf.common.graph import NNCFGraph, NNCFNode
from nncf.torch.function_hook import wrap_model
from nncf.torch.function_hook.nncf_graph.nncf_graph_builder import GraphModelWrapper

from bertqa.artifact import ATTENTION_MASK, INPUT_IDS
from bertqa_build.errors import RecipeError
from bertqa_build.graph import DISTANCES, PROBABILITIES_VALUES, QUERIES_KEYS, is_kept, short
from bertqa_build.model import SpanModel
from bertqa_build.quiet import quiet

_CONSTANT = "nncf_model_const"
_INPUT = "nncf_model_input"
_NO_OPERATIONS = (_CONSTANT, _INPUT, "nncf_model_output")
_PRODUCTS = ("matmul", "bmm", "__matmul__")
_SOFTMAX = "softmax"
# ModernBERT casts its probabilities too, with `to`.
_MOVES = ("dropout", "view", "reshape", "transpose", "permute", "contiguous", "to")
_WEIGHT = ".weight"
_PROBE_TOKENS = 8
_SHOWN = 3


def kept_nodes(model: SpanModel, patterns: Sequence[str]) -> list[str]:
    """Return NNCF's names of the operations that stay in floating point.

    NNCF's own names do not say in which layer an operation is, so each one is known by the layer
    whose weights it takes too, and a product of activations by the module of those.

    Args:
        model: The model, with eager attention.
        patterns: What a recipe's `keep_floating_point` has: names of layers as `inspect` prints
            them, or regular expressions that are found in these or in NNCF's names.

    Returns:
        The names, as `nncf.IgnoredScope` takes them.

    Raises:
        RecipeError: A pattern fits no operation.
    """
    if not patterns:
        return []
    names = _names(_graph(model))
    kept: list[str] = []
    for pattern in patterns:
        found = [node for node, known in names.items() if is_kept(pattern, *known, node)]
        exact = [node for node, known in names.items() if pattern in known]
        if not found:
            raise RecipeError(
                f"No layer of the model is called {pattern!r}, as quantization.keep_floating_point "
                f"has it. There are {_some(names, pattern)} and so on; `bert-qa inspect N "
                "--layers` lists them."
            )
        kept += exact or found
    return list(dict.fromkeys(kept))


def _some(names: Mapping[str, tuple[str, ...]], pattern: str) -> str:
    """Return the names that are most like a pattern, or else the first ones."""
    known = list(dict.fromkeys(name for each in names.values() for name in each if name))
    return ", ".join((difflib.get_close_matches(pattern, known) or known)[:_SHOWN])


def _graph(model: SpanModel) -> NNCFGraph:
    words = torch.arange(_PROBE_TOKENS).unsqueeze(0) % model.vocabulary
    items = {INPUT_IDS: words, ATTENTION_MASK: torch.ones_like(words)}
    example = tuple(model.inputs_of(items).values())
    with quiet(), torch.no_grad():
        return GraphModelWrapper(wrap_model(copy.deepcopy(model)), example).build_graph()


def _names(graph: NNCFGraph) -> dict[str, tuple[str, ...]]:
    """Return the names of each operation by NNCF's: its layer, and which product of attention.

    The layer is empty where an operation is in none. DeBERTa's products with the distances are
    called by that of queries and keys too: the three share quantisers, which go together.
    """
    names: dict[str, tuple[str, ...]] = {}
    distances: Counter[str] = Counter()
    for node in graph.get_all_nodes():
        if node.node_type in _NO_OPERATIONS:
            continue
        layer = next(_layers_of(graph, node), "")
        parts = _parts_of_attention(graph, node) if layer else []
        if DISTANCES in parts:
            distances[layer] += 1
            parts[-1] += f" {distances[layer]}"
        names[node.node_name] = (layer, *(f"{layer} ({part})" for part in parts))
    return names


def _parts_of_attention(graph: NNCFGraph, node: NNCFNode) -> list[str]:
    """Return which product of activations an operation is; nothing where it is none."""
    if node.node_type not in _PRODUCTS or _weighted(graph, node):
        return []
    befores = graph.get_previous_nodes(node)
    if _SOFTMAX in [_before_moves(graph, each) for each in befores]:
        return [PROBABILITIES_VALUES]
    if all(_takes_input(graph, each) for each in befores):
        return [QUERIES_KEYS]
    return [QUERIES_KEYS, DISTANCES]


def _takes_input(graph: NNCFGraph, node: NNCFNode) -> bool:
    """Return whether a value depends on the model's inputs, and not on its weights alone."""
    waiting, seen = [node], {node.node_id}
    while waiting:
        each = waiting.pop()
        if each.node_type == _INPUT:
            return True
        before = [one for one in graph.get_previous_nodes(each) if one.node_id not in seen]
        seen |= {one.node_id for one in before}
        waiting += before
    return False


def _before_moves(graph: NNCFGraph, node: NNCFNode) -> str:
    """Return the type of the operation that a value comes from, past what only moves it."""
    while node.node_type in _MOVES and len(before := graph.get_previous_nodes(node)) == 1:
        (node,) = before
    return str(node.node_type)


def _layers_of(graph: NNCFGraph, node: NNCFNode) -> Iterator[str]:
    """Yield the layer of an operation with weights, or the modules of those that feed it."""
    if own := _weighted(graph, node):
        yield own
        return
    waiting, seen = [node], {node.node_id}
    while waiting:
        for before in graph.get_previous_nodes(waiting.pop(0)):
            if before.node_id in seen or before.node_type in _NO_OPERATIONS:
                continue
            seen.add(before.node_id)
            if name := _weighted(graph, before):
                yield name.rpartition(".")[0]
            else:
                waiting.append(before)


def _weighted(graph: NNCFGraph, node: NNCFNode) -> str:
    """Return the layer whose weights an operation takes; empty where it takes none."""
    constants = [
        each.node_name
        for each in graph.get_previous_nodes(node)
        if each.node_type == _CONSTANT and each.node_name.endswith(_WEIGHT)
    ]
    return short(constants[0].removesuffix(_WEIGHT)) if constants else ""
