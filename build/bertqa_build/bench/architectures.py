"""The sizes of models that have random weights, or a checkpoint in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertqa_build.checkpoint_source import locate

_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "minilm": (
        "bert",
        {
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
        },
    ),
    "bert-base": ("bert", _BASE),
    "bert-large": (
        "bert",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
    ),
    "roberta-base": (
        "roberta",
        {**_BASE, "vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1},
    ),
    "distilbert-base": (
        "distilbert",
        {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072},
    ),
    "electra-base": ("electra", {**_BASE, "embedding_size": 768}),
    "albert-base": ("albert", {**_BASE, "vocab_size": 30_000, "embedding_size": 128}),
    "mpnet-base": ("mpnet", {**_BASE, "vocab_size": 30_527, "max_position_embeddings": 514}),
    "deberta-v3-base": (
        "deberta-v2",
        {
            **_BASE,
            "vocab_size": 128_100,
            "max_position_embeddings": 512,
            "max_relative_positions": -1,
            "position_biased_input": False,
            "pos_att_type": ["p2c", "c2p"],
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "type_vocab_size": 0,
        },
    ),
    "modernbert-base": (
        "modernbert",
        {
            "vocab_size": 50_368,
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "intermediate_size": 1152,
        },
    ),
}
"""By name, the `model_type` of a published model, and what its `config.json` says of its size."""


def require_model(model: str) -> None:
    """Refuse a model that is neither a known size nor a checkpoint.

    Args:
        model: A key of `ARCHITECTURES`, or the source of a checkpoint as a recipe names it.

    Raises:
        CheckpointError: There is no such checkpoint, or the hub cannot be reached.
    """
    if model not in ARCHITECTURES:
        locate(model, Path())
