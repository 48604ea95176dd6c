"""Tiny checkpoints in Hugging Face layout, and a few questions to train them on.

PyTorch takes seconds to import, so it is imported by what needs it: workers import all tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.models import VOCABULARY_SIZE, tokenizer_json

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import BertForQuestionAnswering, PreTrainedModel

CONTEXT = (
    "The Normans were the people who in the 10th and 11th centuries gave their name to Normandy, "
    "a region in France. They agreed to swear fealty to King Charles III of West Francia."
)
QUESTIONS: dict[str, tuple[str, ...]] = {
    "In what country is Normandy located?": ("France", "Normandy, a region in France", "France"),
    "When did they give their name to it?": ("10th and 11th centuries", "in the 10th"),
    "To whom did they swear fealty?": ("King Charles III of West Francia",),
    "Who was the duke in the battle of Hastings?": (),
}


def tiny_bert(seed: int = 0) -> BertForQuestionAnswering:
    """Two layers, 32 wide, 128 positions, with random weights large enough for spread logits."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(seed)
    config: BertConfig = BertConfig.from_dict(
        {
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 128,
            "initializer_range": 0.2,
        }
    )
    config._attn_implementation = "eager"
    model: BertForQuestionAnswering = BertForQuestionAnswering(config)  # type: ignore[no-untyped-call]
    model.train(False)
    return model


def write_checkpoint(directory: Path, model: PreTrainedModel | None = None) -> Path:
    """Write a model, `tiny_bert()` if none is given, with the tokenizer of BERT uncased."""
    (model or tiny_bert()).save_pretrained(directory)
    (directory / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    return directory


def write_adapter(directory: Path, modules_to_save: Sequence[str] = ()) -> PeftModel:
    """Write a LoRA adapter of `tiny_bert()` with random weights, and return what it is part of."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4,
        lora_bias=True,
        target_modules=["query", "value"],
        modules_to_save=list(modules_to_save),
        init_lora_weights=False,
    )
    adapted: PeftModel = get_peft_model(tiny_bert(), config)
    adapted.save_pretrained(str(directory))
    return adapted


def write_squad(path: Path, questions: Sequence[str] | None = None, copies: int = 1) -> Path:
    """Write SQuAD 2.0 JSON: `CONTEXT` with `QUESTIONS`, or some of them, `copies` times."""
    paragraphs = [
        {
            "context": CONTEXT,
            "qas": [
                {
                    "id": f"{copy}-{number}",
                    "question": question,
                    "is_impossible": not QUESTIONS[question],
                    "answers": [
                        {"text": text, "answer_start": CONTEXT.index(text)}
                        for text in QUESTIONS[question]
                    ],
                }
                for number, question in enumerate(questions or QUESTIONS)
            ],
        }
        for copy in range(copies)
    ]
    document = {"version": "v2.0", "data": [{"title": "Normans", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
