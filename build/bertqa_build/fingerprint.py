"""Digests of all that decides what a build makes, so that nothing is made twice."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version as package_version
from typing import Any

from bertqa_build.checkpoint import Checkpoint
from bertqa_build.recipe import DataSource, Recipe
from bertqa_build.recipe_data import RecipeData, key_of

TOOLS = ("torch", "nncf", "openvino", "transformers", "tokenizers", "onnx", "onnxruntime-openvino")

# What a version is quantised by beside its recipe: another form makes another version.
_QUANTISERS = "both products of attention"

# Where a checkpoint was loaded from and by which tool, which does not change what it computes.
_NOT_OF_THE_MODEL = ("_name_or_path", "transformers_version")

DataDigests = Mapping[str, str]
EVALUATION = "questions to evaluate on"
"""The key of the questions to evaluate on."""


def toolchain() -> dict[str, str]:
    """Return the versions of the tools that decide what comes out of a build, by their names."""
    return {"python": platform.python_version()} | {name: package_version(name) for name in TOOLS}


def read_data(data: RecipeData) -> DataDigests:
    """Read all data of a recipe, so that what is wrong with it is found before any work.

    The questions are digested, in whatever form they are: another file, or another revision of a
    hub's data set, with the same questions has the same digest.

    Args:
        data: The data, which keeps what is read.

    Returns:
        The digest of each source, and that of the questions to evaluate on.

    Raises:
        DataError: A source cannot be loaded, or is not a set of questions.
    """
    recipe = data.recipe
    sources = recipe.data.train + (recipe.calibration if recipe.makes_int8 else [])
    return {
        **{key_of(source): data.dataset(source).sha256 for source in sources},
        EVALUATION: data.evaluation.sha256,
    }


def fp32_fingerprint(recipe: Recipe, checkpoint: str, revision: str, data: DataDigests) -> str:
    """Digest what decides the FP32 version: checkpoint, windows, fine-tuning, evaluation, tools.

    Args:
        recipe: The recipe.
        checkpoint: The digest of what the recipe's source was resolved to, by `checkpoint_digest`.
        revision: Its commit, where it is a hub's.
        data: The digests of the recipe's data.

    Returns:
        A hexadecimal sha256.
    """
    return _digest(
        tools={name: package_version(name) for name in TOOLS},
        checkpoint=checkpoint,
        revision=revision,
        model=recipe.model.model_dump(),
        evaluation=data[EVALUATION],
        held_out=recipe.data.held_out,
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
        quantisers=_QUANTISERS,
        qat=recipe.qat
        and {
            "settings": recipe.qat.model_dump(exclude={"checkpoint_steps"}),
            "data": _sources(data, recipe.data.train),
        },
    )


def published_fingerprint(fp32: str, recipe: Recipe) -> str:
    """Digest what decides an FP32 version's files: the model, and how its embeddings are stored.

    Args:
        fp32: The fingerprint of the model.
        recipe: The recipe.

    Returns:
        A hexadecimal sha256.
    """
    return fp32 if recipe.embeddings == "FP32" else _digest(fp32=fp32, stored=recipe.embeddings)


def step_fingerprint(
    recipe: Recipe, before: str, speedup: float, table: str, data: DataDigests
) -> str:
    """Digest what decides a pruned FP32 version: what it is made from, how far it goes, and how.

    Args:
        recipe: The recipe, with a `pruning` section.
        before: The fingerprint of the model that is pruned.
        speedup: How many times as fast as the unpruned model the version is.
        table: The digest of the latency table.
        data: The digests of the recipe's data.

    Returns:
        A hexadecimal sha256.
    """
    pruning = recipe.pruning
    assert pruning is not None
    return _digest(
        before=before,
        speedup=speedup,
        table=table,
        seed=recipe.seed,
        calibration=_sources(data, recipe.calibration),
        settings=pruning.model_dump(
            exclude={"speedup", "steps", "at", "latency_table", "checkpoint_steps"}
        ),
        data=_sources(data, recipe.data.train) if pruning.epochs else None,
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
