"""Questions that a tiny checkpoint answers perfectly, because the answers are its own."""

from __future__ import annotations

import json
from pathlib import Path

from bertqa.client import QAClient
from bertqa.qa import SquadDecoder
from bertqa.runtime.torch import TorchEngine
from bertqa_build.model import SpanModel
from tests.support.checkpoints import tiny_bert, write_checkpoint, write_squad
from tests.support.models import model_info

_CONTEXTS = (
    "Rouen is the capital of Normandy. The Normans came there from the north in the 10th century.",
    "In 1862 Léon Foucault measured the speed of light with a rotating mirror in Paris.",
    "The metre is defined by the speed of light; nothing that carries information is faster.",
    "A sonata of three movements was written by the young composer in the winter of 1921.",
)
_QUESTIONS = (
    "What is the capital of Normandy?",
    "Who measured the speed of light?",
    "What is the metre defined by?",
)


def write_own_answers(path: Path) -> Path:
    """Write SQuAD JSON in which the answers of `tiny_bert()` are gold: its F1 there is 100."""
    engine = TorchEngine(SpanModel(tiny_bert()), model_info(max_seq_len=128, doc_stride=32))
    pairs = [(question, context) for context in _CONTEXTS for question in _QUESTIONS]
    with QAClient(transport=engine) as qa:
        answers = list(qa.answer_many(pairs, decoder=SquadDecoder()))
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": str(number),
                    "question": question,
                    "answers": [{"text": answer.text, "answer_start": answer.start}],
                }
            ],
        }
        for number, ((question, context), answer) in enumerate(zip(pairs, answers, strict=True))
    ]
    document = {"version": "1.1", "data": [{"title": "tiny", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def write_tiny(folder: Path, recipe: str) -> Path:
    """Write `tiny.yaml`, a recipe, and what it names: `checkpoint`, and questions in two files.

    `train.json` has those of `write_squad`, twice, and `evaluation.json` those of
    `write_own_answers`.
    """
    write_checkpoint(folder / "checkpoint")
    write_squad(folder / "train.json", copies=2)
    write_own_answers(folder / "evaluation.json")
    (folder / "tiny.yaml").write_text(recipe, encoding="utf-8")
    return folder
