"""Digests of all that decides what a build makes, so that nothing is made twice."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version as package_version
from typing import Any

from bertqa.artifact import sha256_of
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.data import RecipeData, key_of
from bertqa_build.recipe import DataSource, Recipe

TOOLS = ("torch", "nncf", "openvino", "transformers", "tokenizers", "onnx", "onnxruntime-openvino")

# Where a checkpoint was loaded from and by which tool, which does not change what it computes.
_NOT_OF_THE_MODEL = ("_name_or_path", "transformers_version")

DataDigests = Mapping[str, str]


def toolchain() -> dict[str, str]:
    """Return the versions of the tools that decide what comes out of a build, by their names."""
    return {"python": platform.python_version()} | {name: package_version(name) for name in TOOLS}


def read_data(data: RecipeData) -> DataDigests:
    """Read all data of a recipe, so that what is wrong with it is found before any work.

    A file is digested as it is. Of a hub data set the questions are: whatever revision its name
    leads to now, another revision with other questions has another digest.

    Args:
        data: The data, which keeps what is read.

    Returns:
        The digest of each source.

    Raises:
        DataError: A source cannot be had, or is not a set of questions.
    """
    recipe = data.recipe
    sources = [*recipe.data.train, *recipe.calibration, recipe.data.evaluation]
    digests: dict[str, str] = {}
    for source in sources:
        if key_of(source) not in digests:
            dataset = data.dataset(source)
            digests[key_of(source)] = (
                sha256_of(recipe.data_path(source)) if isinstance(source, str) else dataset.sha256
            )
    return digests


def fp32_fingerprint(recipe: Recipe, checkpoint: Checkpoint, data: DataDigests) -> str:
    """Digest what decides the FP32 version: checkpoint, windows, fine-tuning, evaluation, tools.

    Args:
        recipe: The recipe.
        checkpoint: What the recipe's source was resolved to: a hub's revision, and its tensors,
            settings and tokenizer.
        data: The digests of the recipe's data.

    Returns:
        A hexadecimal sha256.
    """
    return _digest(
        tools={name: package_version(name) for name in TOOLS},
        checkpoint=checkpoint_digest(checkpoint),
        revision=checkpoint.revision,
        model=recipe.model.model_dump(),
        evaluation=_sources(data, [recipe.data.evaluation]),
        finetune=recipe.finetune
        and {
            "settings": recipe.finetune.model_dump(exclude={"checkpoint_steps"}),
            "data": _sources(data, recipe.data.train),
            "seed": recipe.seed,
        },
    )


def int8_fingerprint(recipe: Recipe, fp32: str, data: DataDigests) -> str:
    """Digest what decides the INT8 version: the FP32 version, and how it is quantised.

    Args:
        recipe: The recipe.
        fp32: The fingerprint of the FP32 version, which covers the tools.
        data: The digests of the recipe's data.

    Returns:
        A hexadecimal sha256.
    """
    return _digest(
        fp32=fp32,
        seed=recipe.seed,
        calibration=_sources(data, recipe.calibration),
        quantization=recipe.quantization.model_dump(),
        qat=recipe.qat
        and {
            "settings": recipe.qat.model_dump(exclude={"checkpoint_steps"}),
            "data": _sources(data, recipe.data.train),
        },
    )


def _digest(**parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sources(data: DataDigests, sources: Iterable[DataSource]) -> list[str]:
    return [data[key_of(source)] for source in sources]


def checkpoint_digest(checkpoint: Checkpoint) -> str:
    """Digest tensors, settings and tokenizer, wherever they come from.

    Args:
        checkpoint: The checkpoint, before any training.

    Returns:
        A hexadecimal sha256.
    """
    digest = hashlib.sha256(checkpoint.tokenizer_json.encode())
    settings = checkpoint.model.config.to_dict()
    own = {key: value for key, value in settings.items() if key not in _NOT_OF_THE_MODEL}
    digest.update(json.dumps(own, sort_keys=True, default=str).encode())
    for name, tensor in sorted(checkpoint.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
