"""Digests of all that decides what a build makes, so that nothing is made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from bertqa.artifact import sha256_of
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.recipe import DataSource, Recipe


def fp32_fingerprint(recipe: Recipe, checkpoint: Checkpoint) -> str:
    """Digest what decides the FP32 version: checkpoint, windows, fine-tuning, evaluation data."""
    return _digest(
        checkpoint=_checkpoint_digest(checkpoint),
        model=recipe.model.model_dump(),
        evaluation=_sources(recipe, [recipe.data.evaluation]),
        finetune=recipe.finetune
        and {
            "settings": recipe.finetune.model_dump(exclude={"checkpoint_steps"}),
            "data": _sources(recipe, recipe.data.train),
            "seed": recipe.seed,
        },
    )


def int8_fingerprint(recipe: Recipe, fp32: str) -> str:
    """Digest what decides the INT8 version: the FP32 version, and how it is quantised."""
    return _digest(
        fp32=fp32,
        seed=recipe.seed,
        calibration=_sources(recipe, recipe.calibration),
        quantization=recipe.quantization.model_dump(),
        qat=recipe.qat
        and {
            "settings": recipe.qat.model_dump(exclude={"checkpoint_steps"}),
            "data": _sources(recipe, recipe.data.train),
        },
    )


def _digest(**parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sources(recipe: Recipe, sources: Iterable[DataSource]) -> list[Any]:
    return [
        sha256_of(recipe.data_path(source)) if isinstance(source, str) else source.model_dump()
        for source in sources
    ]


def _checkpoint_digest(checkpoint: Checkpoint) -> str:
    """Digest the tensors and the tokenizer, wherever they come from."""
    digest = hashlib.sha256(checkpoint.tokenizer_json.encode())
    for name, tensor in sorted(checkpoint.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
