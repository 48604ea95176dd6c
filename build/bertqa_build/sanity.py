"""What a version must pass before it is published, whatever its scores are."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch
from tokenizers import Tokenizer

from bertqa.artifact import ATTENTION_MASK, INPUT_IDS, OUTPUTS, TOKEN_TYPE_IDS
from bertqa.evaluation import SquadDataset
from bertqa.qa import QATokenizer, Window
from bertqa.runtime import Engine
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.errors import BuildError, CheckpointError
from bertqa_build.export import FP32_TOLERANCE
from bertqa_build.model import SpanModel
from bertqa_build.quiet import quiet
from bertqa_build.recipe import Model

_COMPARED_QUESTIONS = 8
_MENTIONED_SHARE = 0.1
"""Percent of unknown tokens from which on a build mentions them."""


def require_sane(checkpoint: Checkpoint, dataset: SquadDataset, limit: float) -> list[str]:
    """Refuse a tokenizer that lacks words, and say what was left out of a checkpoint.

    Args:
        checkpoint: The checkpoint.
        dataset: The questions to evaluate on.
        limit: How many of their tokens the tokenizer may not know, in percent.

    Returns:
        Remarks.

    Raises:
        CheckpointError: There are too many unknown tokens.
    """
    share = unknown_share(checkpoint.tokenizer_json, dataset)
    require_known(share, limit, checkpoint, dataset)
    remarks = [f"Of {checkpoint.description}, {note}" for note in checkpoint.notes]
    if share >= _MENTIONED_SHARE:
        remarks.append(f"The tokenizer does not know {share:.1f} % of the tokens of {dataset.name}")
    return remarks


def unknown_share(tokenizer_json: str, dataset: SquadDataset) -> float:
    """Return how many of a data set's tokens a tokenizer does not know, in percent.

    Args:
        tokenizer_json: The text of the tokenizer's `tokenizer.json`.
        dataset: The questions, of which every question and every context counts once.
    """
    unknown = _unknown_id(tokenizer_json)
    if unknown is None:
        return 0.0
    tokenizer = Tokenizer.from_str(tokenizer_json)
    texts = {each.context for each in dataset} | {each.question for each in dataset}
    encodings = tokenizer.encode_batch(sorted(texts), add_special_tokens=False)
    tokens = sum(len(each) for each in encodings)
    found: int = sum(each.ids.count(unknown) for each in encodings)
    return 100 * found / max(tokens, 1)


def require_known(
    share: float, limit: float, checkpoint: Checkpoint, dataset: SquadDataset
) -> None:
    """Refuse a tokenizer that does not know the language of the questions.

    Args:
        share: How many of the tokens it does not know, in percent.
        limit: How many it may not know, in percent.
        checkpoint: The checkpoint that it belongs to.
        dataset: The questions.

    Raises:
        CheckpointError: There are too many.
    """
    if share > limit:
        raise CheckpointError(
            f"The tokenizer of {checkpoint.description} does not know {share:.1f} % of the tokens "
            f"of {dataset.name}, and gate.max_unknown allows {limit:g} %. Use the tokenizer that "
            "the model was trained with, or a model of the language of the questions."
        )


def require_same_logits(
    engine: Engine, module: SpanModel, tokenizer_json: str, dataset: SquadDataset, lengths: Model
) -> None:
    """Compare an exported FP32 model with the model of transformers on questions of a data set.

    Args:
        engine: What runs the exported model.
        module: The model that was exported; the model in it runs as transformers runs it.
        tokenizer_json: The text of the tokenizer's `tokenizer.json`.
        dataset: The questions, of which the first few are taken.
        lengths: How they are cut into windows.

    Raises:
        BuildError: The logits differ.
    """
    module.eval()
    for question, window in _windows(tokenizer_json, dataset, lengths):
        arrays = {
            INPUT_IDS: window.input_ids,
            ATTENTION_MASK: np.ones_like(window.input_ids),
            TOKEN_TYPE_IDS: window.token_type_ids,
        }
        inputs = {name: arrays[name].astype(np.int64)[None] for name in module.inputs}
        with quiet(), torch.no_grad():
            output = module.model(
                **{name: torch.from_numpy(array) for name, array in inputs.items()},
                return_dict=True,
            )
        outputs = engine.run(inputs)
        for name in OUTPUTS:
            expected = output[name].numpy()
            error = float(np.sqrt(np.mean((outputs[name] - expected) ** 2)))
            if not error <= FP32_TOLERANCE * float(np.std(expected)) + FP32_TOLERANCE:
                raise BuildError(
                    f"The exported model is not published: on question {question} of "
                    f"{dataset.name} its {name} differ from those of transformers by {error:.2g}."
                )


def _windows(
    tokenizer_json: str, dataset: SquadDataset, lengths: Model
) -> Iterator[tuple[str, Window]]:
    tokenizer = QATokenizer.from_json(tokenizer_json)
    for number, each in enumerate(dataset):
        if number == _COMPARED_QUESTIONS:
            return
        for window in tokenizer.windows(
            each.question,
            each.context,
            max_seq_len=lengths.max_seq_len,
            doc_stride=lengths.doc_stride,
            max_question_len=lengths.max_question_len,
        )[:1]:
            yield each.id, window


def _unknown_id(tokenizer_json: str) -> int | None:
    """Return the id of the token that stands for what is unknown; None where there is none."""
    model = json.loads(tokenizer_json)["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    token = model.get("unk_token")
    return None if token is None else Tokenizer.from_str(tokenizer_json).token_to_id(token)
