"""Quantising a model with NNCF, and writing and reading the quantised model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nncf
import nncf.torch
import torch
from nncf.torch.quantization.layers import SQMultiply
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

from bertqa.errors import DataError
from bertqa_build.attention_products import both_quantized
from bertqa_build.compilation import compiled_quantizers
from bertqa_build.data import TrainingWindows, collate
from bertqa_build.errors import CheckpointError
from bertqa_build.floating_point import kept_nodes
from bertqa_build.model import SpanModel, as_span_model
from bertqa_build.pruning.sizes import model_class_of
from bertqa_build.quiet import quiet
from bertqa_build.recipe import Quantization
from bertqa_build.work_files import WEIGHTS_FILE

NNCF_FILE = "nncf.json"
CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"

_OFF = -1.0


def quantize(
    model: PreTrainedModel | SpanModel,
    calibration: TrainingWindows | Sequence[dict[str, Any]],
    settings: Quantization | None = None,
) -> SpanModel:
    """Return a copy of a model with INT8 quantisers, calibrated, to export or to train further.

    Args:
        model: A question-answering model with eager attention, or a `SpanModel`.
        calibration: Windows with `input_ids`, `attention_mask` and `token_type_ids`, INT
            `[tokens]` each, as `training_windows` returns them. They are run one at a time,
            because padding would distort the ranges.
        settings: How many windows to run, and how NNCF quantises. Where they do not say which
            layers stay in floating point, those of the model's family do.

    Returns:
        The quantised model, with the inputs and outputs of a `SpanModel`.

    Raises:
        DataError: `calibration` is empty.
        BuildError: NNCF could not compile its quantisers in time.
        RecipeError: `settings.keep_floating_point` names a layer that the model does not have.
    """
    span_model = as_span_model(model).eval()
    family = span_model.family
    settings = (settings or Quantization()).of_family(family.keeps_floating_point)
    count = min(len(calibration), settings.calibration_windows)
    if not count:
        raise DataError("The calibration set is empty: no window can be made of it.")
    kept = kept_nodes(span_model, settings.keep_floating_point or ())
    samples = [_inputs(span_model, calibration[index]) for index in range(count)]
    with both_quantized(), quiet(), compiled_quantizers(), torch.no_grad():
        quantized: SpanModel = nncf.quantize(
            span_model,
            nncf.Dataset(samples),
            subset_size=count,
            preset=nncf.QuantizationPreset(settings.preset),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=kept),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # The slow form is not for PyTorch: NNCF refuses it.
                disable_bias_correction=not settings.fast_bias_correction,
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(
                    matmul=_OFF if family.no_smooth_quant else settings.smooth_quant_alpha
                ),
            ),
        )
    return _settle(quantized)


def save_quantized(model: SpanModel, directory: Path, tokenizer_json: str) -> None:
    """Write a quantised model for `load_quantized`, to train further or to export later.

    The files are the weights with the quantisers' ranges (`model.safetensors`), the places of the
    quantisers (`nncf.json`), the model's `config.json` and the `tokenizer.json`.

    Args:
        model: What `quantize` or `load_quantized` returned.
        directory: Where to write; it is created if it does not exist.
        tokenizer_json: The text of the tokenizer's `tokenizer.json`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = nncf.torch.get_config(model)
    (directory / NNCF_FILE).write_text(json.dumps(config), encoding="utf-8")
    (directory / CONFIG_FILE).write_text(model.model.config.to_json_string(), encoding="utf-8")
    (directory / TOKENIZER_FILE).write_text(tokenizer_json, encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        directory / WEIGHTS_FILE,
    )


def load_quantized(directory: Path) -> SpanModel:
    """Read a quantised model.

    Args:
        directory: What `save_quantized` wrote.

    Returns:
        The model, in evaluation mode, with the inputs and outputs of a `SpanModel`.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        compression = json.loads((directory / NNCF_FILE).read_text(encoding="utf-8"))
        tensors = load_file(directory / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{directory} does not contain a complete quantised model.", detail=str(error)
        ) from error
    config._attn_implementation = "eager"
    with quiet(), compiled_quantizers():
        plain = SpanModel(model_class_of(config)(config))
        model: SpanModel = nncf.torch.load_from_config(plain, compression)
    model.load_state_dict(tensors)
    return _settle(model)


def _settle(model: SpanModel) -> SpanModel:
    """Make a quantised model fit to be saved and trained further.

    NNCF shares one SmoothQuant factor between several products. It is not trained, so that an
    engine can multiply once for all of them. They must stay one module, because NNCF finds the
    quantisers behind them by its name; but safetensors refuses shared tensors, so the state holds
    copies.
    """
    for module in model.modules():
        if isinstance(module, SQMultiply):
            module.requires_grad_(False)
    model.register_state_dict_post_hook(_unshare)  # type: ignore[no-untyped-call]
    return model.eval()


def _unshare(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    """Put a copy in the place of each tensor that `state` holds under another name already."""
    seen: set[int] = set()
    for name, tensor in state.items():
        if tensor.data_ptr() in seen:
            state[name] = tensor.clone()
        seen.add(tensor.data_ptr())


def _inputs(model: SpanModel, window: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(model.inputs_of(collate([window])).values())
