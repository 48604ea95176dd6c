"""What a checkpoint's `config.json` must say, so that its model is the one that is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from bertqa_build.errors import CheckpointError
from bertqa_build.families import Family, family_of, model_types

CONFIG_FILE = "config.json"
ADAPTER_CONFIG_FILE = "adapter_config.json"
LABELS = 2
"""The start and the end."""

_WITHOUT_EFFECT = {
    "return_dict": True,
    "torchscript": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "chunk_size_feed_forward": 0,
}
"""Settings that say how a model is called, not what it computes, and the values that run."""

_LFS_POINTER = b"version https://git-lfs"


def read_config(folder: Path, source: str, max_seq_len: int) -> Any:
    """Return a checkpoint's configuration, with the two labels of a question-answering head.

    Args:
        folder: The checkpoint's directory.
        source: The checkpoint's name, for messages.
        max_seq_len: The longest window, in tokens, which must fit the checkpoint's positions.

    Returns:
        The configuration, of the class that transformers has for its family.

    Raises:
        CheckpointError: There is none, it cannot be read, or it describes a model that cannot be
            built.
    """
    family = _family(_read(folder, source), source)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        positions = family.positions(config)
    except Exception as error:  # whatever transformers makes of a foreign value
        raise CheckpointError(
            f"The {CONFIG_FILE} of the checkpoint {source} is not that of a {family.name} model: "
            f"{first_line(error)}.",
            detail=str(error),
        ) from error
    if positions is not None and max_seq_len > len(positions):
        raise CheckpointError(
            f"max_seq_len is {max_seq_len}, but the checkpoint {source} has only {len(positions)} "
            "positions for tokens."
        )
    for name, value in _WITHOUT_EFFECT.items():
        if getattr(config, name, value) != value:
            setattr(config, name, value)
    if config.num_labels != LABELS:
        config.num_labels = LABELS
    return config


def require_not_a_pointer(path: Path) -> None:
    """Refuse a file that cannot be read, or that Git LFS has not replaced by its contents.

    Args:
        path: A file of a checkpoint.

    Raises:
        CheckpointError: It cannot be read, or is a pointer.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}. Copy the checkpoint again, with the files "
            "that its links lead to.",
            detail=str(error),
        ) from error
    if begin == _LFS_POINTER:
        raise CheckpointError(
            f"{path} is a pointer of Git LFS, not the file itself: run `git lfs pull` in its "
            "repository."
        )


def first_line(error: Exception) -> str:
    """Return what an error of another library says, in one line without a full stop.

    Args:
        error: The error.

    Returns:
        Its last line, or its type where it says nothing.
    """
    if isinstance(error, KeyError):
        return f"{error} is not known"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")


def _read(folder: Path, source: str) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file() and not path.is_symlink():
        if (folder / ADAPTER_CONFIG_FILE).is_file():
            raise CheckpointError(
                f"{source} is the directory of an adapter, not of a checkpoint: name it with "
                "`adapter:`, and with `source:` the checkpoint that it was trained on."
            )
        raise CheckpointError(
            f"{folder} is not a checkpoint in Hugging Face layout: its {CONFIG_FILE} is missing."
        )
    require_not_a_pointer(path)
    if (folder / ADAPTER_CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{folder} holds both a checkpoint and an adapter ({ADAPTER_CONFIG_FILE}). Move the "
            "adapter into a directory of its own, and name it with `adapter:` to merge it."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint in Hugging Face layout: its {CONFIG_FILE} cannot be "
            "read.",
            detail=str(error),
        ) from error
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{folder} is not a checkpoint in Hugging Face layout: its {CONFIG_FILE} does not hold "
            "an object."
        )
    return config


def _family(config: dict[str, Any], source: str) -> Family:
    """Return the family of a configuration that says nothing that would be passed over."""
    found = [config.get(f"{what}_config") for what in ("quantization", "compression")]
    for quantization in (each for each in found if each is not None):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise CheckpointError(
            f"The checkpoint {source} was quantised by another library ({method or 'unknown'}, see "
            f"the quantization_config of its {CONFIG_FILE}). Name the floating-point checkpoint "
            "that it was made from."
        )
    if config.get("auto_map"):
        raise CheckpointError(
            f"The checkpoint {source} brings code of its own (auto_map in its {CONFIG_FILE}), which"
            " is not run. Name a checkpoint without it."
        )
    if config.get("is_encoder_decoder"):
        raise CheckpointError(
            f"The checkpoint {source} is an encoder-decoder (model_type "
            f"{config.get('model_type')!r}), which writes answers; only models that mark an answer "
            f"in a context can be built: {', '.join(model_types())}."
        )
    for key in ("is_decoder", "add_cross_attention"):
        if config.get(key):
            raise CheckpointError(
                f"The checkpoint {source} is a decoder ({key} in its {CONFIG_FILE}), of which a "
                "token does not see the ones after it. Name one that was trained as an encoder."
            )
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise CheckpointError(
            f"The {CONFIG_FILE} of the checkpoint {source} names no model_type. Add that of its "
            f"family; {', '.join(model_types())} can be built."
        )
    if model_type not in model_types():
        raise CheckpointError(
            f"The checkpoint {source} has the model_type {model_type!r}, which cannot be "
            f"built; {', '.join(model_types())} can."
        )
    family = family_of(model_type)
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute":
        raise CheckpointError(
            f"The checkpoint {source} has position_embedding_type {positions!r}, which cannot be "
            f"built: a {family.name} model has absolute positions. Name a checkpoint that has them."
        )
    return family
