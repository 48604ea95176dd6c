"""A tiny checkpoint of every family that can be built, with a tokenizer trained on the spot.

A family is one row of `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, PreTrainedModel

from bertqa_build.families import family_of
from tests.support.trained_tokenizers import (
    VOCABULARY,
    byte_pairs,
    byte_pairs_of_modernbert,
    json_of,
    unigram,
    unigram_of_bert,
    word_piece,
    word_piece_of_mpnet,
)


@dataclass(frozen=True)
class Row:
    """How the tiny checkpoint of a family is made.

    Attributes:
        model_type: The `model_type` of its `config.json`.
        train: Trains its tokenizer.
        inputs: The inputs that it has.
        settings: What its configuration has beside `_COMMON`.
        positions: The longest window that it takes, None where any length is taken.
        is_own: Whether it has code of its own; otherwise it is a copy of another one.
    """

    model_type: str
    train: Callable[[], Tokenizer]
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    settings: Mapping[str, Any] = field(default_factory=dict)
    positions: int | None = 128
    is_own: bool = True

    def __str__(self) -> str:
        return self.model_type

    def tokenizer_json(self) -> str:
        """The tokenizer's JSON, trained once."""
        return json_of(self.train)

    def model(self, seed: int = 0) -> PreTrainedModel:
        """Two layers or three, 32 wide, with random weights large enough for spread logits."""
        torch.manual_seed(seed)
        tokenizer = Tokenizer.from_str(self.tokenizer_json())
        ids = {
            f"{name}_token_id": tokenizer.token_to_id(token)
            for name, tokens in _SPECIAL.items()
            for token in tokens
            if tokenizer.token_to_id(token) is not None
        }
        values = {**_COMMON, "vocab_size": VOCABULARY, **ids, **self.settings}
        config = AutoConfig.for_model(self.model_type, **values)
        config._attn_implementation = "eager"
        model = family_of(self.model_type).model_class(config)
        model.train(False)
        return model

    def write(self, directory: Path, model: PreTrainedModel | None = None) -> Path:
        """Write a checkpoint in Hugging Face layout."""
        (model or self.model()).save_pretrained(directory)
        (directory / "tokenizer.json").write_text(self.tokenizer_json(), encoding="utf-8")
        return directory


_SPECIAL = {
    "pad": ("[PAD]", "<pad>"),
    "cls": ("[CLS]", "<s>"),
    "bos": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "eos": ("[SEP]", "</s>"),
}
_COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}
_TYPES = ("input_ids", "attention_mask", "token_type_ids")
_AS_ROBERTA = {"max_position_embeddings": 130, "type_vocab_size": 1}

FAMILIES = [
    Row("bert", word_piece, _TYPES),
    Row("roberta", byte_pairs, settings=_AS_ROBERTA),
    Row("xlm-roberta", unigram, settings=_AS_ROBERTA, is_own=False),
    Row("camembert", unigram, settings=_AS_ROBERTA, is_own=False),
    Row(
        "distilbert",
        word_piece,
        settings={"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    ),
    Row("electra", word_piece, _TYPES, {"embedding_size": 16}),
    Row("albert", unigram_of_bert, _TYPES, {"embedding_size": 16}),
    Row("mpnet", word_piece_of_mpnet, settings={"max_position_embeddings": 130}),
    Row(
        "deberta-v2",
        unigram_of_bert,
        settings={
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
        positions=None,
    ),
    Row(
        "modernbert",
        byte_pairs_of_modernbert,
        settings={
            "num_hidden_layers": 3,
            "global_attn_every_n_layers": 3,
            "local_attention": 16,
        },
        positions=None,
    ),
]
