"""The weights of a checkpoint, of which every tensor must have its place in the model."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from bertqa._words import first_of
from bertqa.artifact import synthetic_inputs
from bertqa_build.checkpoint_config import LABELS, first_line, require_not_a_pointer
from bertqa_build.errors import CheckpointError
from bertqa_build.families import Family
from bertqa_build.model import SpanModel
from bertqa_build.pruning.sizes import model_class_of
from bertqa_build.quiet import quiet
from bertqa_build.wording import count

_FILES = ("model.safetensors", "pytorch_model.bin")
"""In the order in which transformers looks for them; each may be cut into shards."""

_INDEX_SUFFIX = ".index.json"
_listed = partial(first_of, most=3)
_SHORT_EXAMPLE = 16

_FLOATS = frozenset(
    {"F16", "F32", "F64", "BF16", torch.float16, torch.float32, torch.float64, torch.bfloat16}
)
_MOST_LAYERS = 1000
_SMALL = 100_000_000
"""Parameters that any machine has room for."""

_DOUBLES = frozenset({"F64", torch.float64})
_POSITIONS = "position_ids"

_WRAPPER = r"^(module|_orig_mod)\."
"""What DataParallel and torch.compile put before the names of a model's tensors."""

_NEW_HEAD = (
    "Add a `finetune:` section to the recipe (or --set finetune.learning_rate=3e-5) for a new one"
)

_OTHER_HEADS = frozenset(
    {
        "classifier",
        "cls",
        "decoder",
        "discriminator_predictions",
        "generator_lm_head",
        "generator_predictions",
        "head",
        "lm_head",
        "lm_predictions",
        "mask_predictions",
        "pooler",
        "pre_classifier",
        "predictions",
        "sop_classifier",
        "vocab_layer_norm",
        "vocab_projector",
        "vocab_transform",
    }
)
"""What heads of other tasks are called in the families: no answer depends on them."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model with the weights of a checkpoint.

    Attributes:
        model: The model, in FP32 and evaluation mode, with eager attention.
        missing: The names of the tensors that the checkpoint lacks; they are random.
        notes: What was left out or changed, a remark each.
    """

    model: PreTrainedModel
    missing: set[str]
    notes: tuple[str, ...]


def has_head(family: Family, config: Any, folder: Path, source: str) -> bool:
    """Return whether a checkpoint has a head for questions, whatever task it says it is of.

    Args:
        family: The checkpoint's family.
        config: Its configuration.
        folder: Its directory.
        source: Its name, for messages.

    Raises:
        CheckpointError: The weights are missing, or cannot be read.
    """
    if family.shares_head and not _says_questions(config):
        return False
    shapes = {
        re.sub(_WRAPPER, "", name): shape
        for path in _weight_files(folder, source)
        for name, (_, shape) in _tensors(path, source).items()
    }
    found = shapes.get(f"{family.head[-1]}.weight")
    return found is not None and len(found) == 2 and found[0] == LABELS


def load_weights(
    family: Family, config: Any, folder: Path, source: str, *, needs_head: bool
) -> Weights:
    """Load the weights of a checkpoint.

    Args:
        family: The checkpoint's family.
        config: Its configuration.
        folder: Its directory.
        source: Its name, for messages.
        needs_head: Whether the head must have the two outputs of question answering. Otherwise a
            head with another number of outputs counts as missing.

    Returns:
        The model, and what it lacks.

    Raises:
        CheckpointError: The weights are missing, damaged or not finite, are not of floating point,
            or are not those of the family.
    """
    notes = []
    files = _weight_files(folder, source)
    _require_can_be_made(family, config, files, source)
    if _require_floats(files, source):
        notes.append("its float64 tensors were rounded to FP32")
    model, loading = _load(config, folder, source)
    missing = set(loading["missing_keys"])
    if family.shares_head and not _says_questions(config):
        if needs_head:
            named = _listed(list(config.architectures or ())) or "no architecture"
            raise CheckpointError(
                f"The checkpoint {source} has no head that is known to be for questions: its "
                f"config.json names {named}, and in {family.name} other tasks have layers of the "
                f"same names. {_NEW_HEAD}, or where it was trained on questions, set "
                f'"architectures": ["{family.model_class.__name__}"] there.'
            )
        missing |= {name for name in model.state_dict() if name.startswith(family.head[-1])}
    for name, found, expected in sorted(loading["mismatched_keys"]):
        if needs_head and _is_head(family, name):
            raise CheckpointError(
                f"The checkpoint {source} has no head for questions: its {name} has {found[0]} "
                f"outputs, not {LABELS} for the start and the end. {_NEW_HEAD}, or name a "
                "checkpoint that was trained on questions."
            )
        if not _is_head(family, name):
            raise CheckpointError(
                f"The checkpoint {source} does not fit its config.json: {name} has the shape "
                f"{list(found)}, and {family.name} for questions has {list(expected)}."
            )
        missing.add(name)
        notes.append(f"a new head takes the place of its {name} with {found[0]} outputs")
    dropped = sorted(loading["unexpected_keys"])
    strangers = [name for name in dropped if not _is_of_another_task(model, name)]
    if strangers:
        raise CheckpointError(
            f"The checkpoint {source} has {count(len(strangers), 'tensor')} that the {family.name} "
            f"model has no place for: {_listed(strangers)}. Without them it would compute "
            "something else; name a checkpoint of the plain architecture."
        )
    heads = sorted({_own_name(model, name).partition(".")[0] for name in dropped} - {_POSITIONS})
    heads = [head for head in heads if head in _OTHER_HEADS - {"pooler"}]
    if heads:
        notes.append(f"its heads of other tasks are left out: {', '.join(heads)}")
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"The weights of the checkpoint {source} are damaged: {name} has values that are "
                "not finite. Download or train it again."
            )
    return Weights(model, missing, tuple(notes))


def require_computes(model: PreTrainedModel, source: str) -> None:
    """Run a model once on a few tokens, so that what cannot run is refused before any work.

    Args:
        model: The model, in evaluation mode.
        source: The checkpoint's name, for messages.

    Raises:
        CheckpointError: It raises an error, or returns what is not finite.
    """
    try:
        span = SpanModel(model)
        inputs = synthetic_inputs(
            1, _SHORT_EXAMPLE, names=span.inputs, ids=range(span.vocabulary), padded=True
        )
        with quiet(), torch.no_grad():
            logits = span(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    except Exception as error:  # whatever PyTorch makes of foreign settings
        raise CheckpointError(
            f"The model of the checkpoint {source} cannot run: its config.json does not fit its "
            f"weights, or has a value that transformers does not know ({type(error).__name__}).",
            detail=str(error),
        ) from error
    if not all(torch.isfinite(each).all() for each in logits):
        raise CheckpointError(
            f"The model of the checkpoint {source} computes values that are not finite. Its "
            "weights are damaged, or too large for FP32: train it again."
        )


def _require_can_be_made(family: Family, config: Any, files: list[Path], source: str) -> None:
    """Refuse a configuration of no model, or of one that is far larger than its weights.

    The model is made without memory for its tensors.
    """
    try:
        layers = config.num_hidden_layers
        if not 1 <= layers <= _MOST_LAYERS:
            raise ValueError(f"num_hidden_layers is {layers}")
        own = copy.deepcopy(config)
        own._attn_implementation = "eager"
        with quiet(), torch.device("meta"):
            model: Any = family.model_class(own)
        parameters = sum(each.numel() for each in model.parameters())
    except Exception as error:  # whatever PyTorch makes of foreign settings
        raise CheckpointError(
            f"No {family.name} model can be made from the config.json of the checkpoint {source}: "
            f"{first_line(error)}. Use the file that was written with the weights.",
            detail=str(error),
        ) from error
    stored = sum(path.stat().st_size for path in files)
    if parameters > max(stored, _SMALL):
        raise CheckpointError(
            f"The checkpoint {source} does not fit its config.json, which describes a model of "
            f"{parameters:,} parameters; its weights have {stored:,} bytes. Use the config.json "
            "that was written with them."
        )


def _weight_files(folder: Path, source: str) -> list[Path]:
    """Return the files with the weights, all of which exist and hold more than a pointer."""
    for name in _FILES:
        if (folder / name).is_file() or (folder / name).is_symlink():
            files = [folder / name]
            break
        if (folder / f"{name}{_INDEX_SUFFIX}").is_file():
            files = _shards(folder / f"{name}{_INDEX_SUFFIX}", source)
            break
    else:
        others = sorted(
            path.name
            for pattern in ("*.safetensors", "*.bin", "*.h5", "*.msgpack", "*.onnx", "*.gguf")
            for path in folder.glob(pattern)
        )
        instead = f" It has {_listed(others)}, which cannot be used." if others else ""
        raise CheckpointError(
            f"The checkpoint {source} has no weights: {folder} contains neither "
            f"{' nor '.join(_FILES)}, whole or in shards.{instead} Write it with `save_pretrained` "
            "of transformers."
        )
    for path in files:
        require_not_a_pointer(path)
    return files


def _shards(index: Path, source: str) -> list[Path]:
    require_not_a_pointer(index)
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        shards = sorted(index.parent / name for name in set(content["weight_map"].values()))
        if not shards or not isinstance(content["metadata"], dict):
            raise ValueError("weight_map is empty, or metadata is not an object")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint {source} cannot be read: {index} is not an index of "
            "shards. Write the checkpoint again with `save_pretrained` of transformers.",
            detail=str(error),
        ) from error
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"The checkpoint {source} is not complete: of its {count(len(shards), 'shard')}, "
            f"{len(missing)} {'is' if len(missing) == 1 else 'are'} missing: {_listed(missing)}. "
            "Download it again."
        )
    return shards


def _require_floats(files: list[Path], source: str) -> bool:
    """Refuse tensors of other types than floating point, and return whether some are doubles."""
    doubles = False
    for path in files:
        for name, (kind, _) in _tensors(path, source).items():
            doubles |= kind in _DOUBLES
            if kind not in _FLOATS and not name.endswith(_POSITIONS):
                raise CheckpointError(
                    f"The checkpoint {source} has the tensor {name} of type "
                    f"{str(kind).removeprefix('torch.')}, which is not of 16 bits or more of "
                    "floating point. Name the checkpoint that it was quantised from."
                )
    return doubles


def _tensors(path: Path, source: str) -> dict[str, tuple[Any, Sequence[int]]]:
    """Return the type and the shape of each tensor of a file, without reading the tensors."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                return {name: (each.get_dtype(), each.get_shape()) for name, each in slices.items()}
        state = torch.load(path, map_location="meta", weights_only=True)
        for name, tensor in state.items():
            if not isinstance(name, str) or not _is_dense(tensor):
                raise TypeError(f"{name!r} is not the name of a dense tensor")
        return {name: (tensor.dtype, tensor.shape) for name, tensor in state.items()}
    except SafetensorError as error:
        raise CheckpointError(
            f"The weights of the checkpoint {source} cannot be loaded: {path} is damaged. "
            "Download it again.",
            detail=str(error),
        ) from error
    except Exception as error:  # PyTorch raises whatever a damaged pickle makes
        raise CheckpointError(
            f"The weights of the checkpoint {source} cannot be loaded: {path} is damaged, or "
            "contains other things than dense tensors, which are not loaded because a pickle may "
            "run code. Download it again, or where you trust it, write it as safetensors.",
            detail=str(error),
        ) from error


def _is_dense(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided


def from_directory(config: Any, folder: Path, **options: Any) -> Any:
    """Read a model in FP32 with eager attention, pruned or not.

    Args:
        config: Its settings, as `AutoConfig` reads them.
        folder: Where its weights are, in Hugging Face layout.
        **options: More arguments of `from_pretrained`.

    Returns:
        What `from_pretrained` returns with these options.
    """
    with quiet():
        return model_class_of(config).from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            **options,
        )


def _load(config: Any, folder: Path, source: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        loaded = from_directory(
            config,
            folder,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            key_mapping={_WRAPPER: ""},
        )
    except Exception as error:  # whatever transformers makes of foreign settings
        raise CheckpointError(
            f"The weights of the checkpoint {source} cannot be loaded: {first_line(error)}. Write "
            "it again with `save_pretrained` of transformers.",
            detail=str(error),
        ) from error
    model, loading = loaded
    # transformers would undo the mapping when the model is saved, and cannot.
    vars(model).pop("_weight_conversions", None)
    return model.eval(), loading


def _says_questions(config: Any) -> bool:
    return any("QuestionAnswering" in str(each) for each in config.architectures or ())


def _own_name(model: PreTrainedModel, name: str) -> str:
    return name.removeprefix(f"{model.base_model_prefix}.")


def _is_head(family: Family, name: str) -> bool:
    return name.partition(".")[0] in family.head


def _is_of_another_task(model: PreTrainedModel, name: str) -> bool:
    first = _own_name(model, name).partition(".")[0]
    return first in _OTHER_HEADS or name.endswith(f".{_POSITIONS}")
