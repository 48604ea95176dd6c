"""Putting NNCF's quantisers into a model, and keeping a quantised model on disk."""

from __future__ import annotations

import json
import os
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
from transformers import BertConfig, BertForQuestionAnswering

from bertqa.errors import DataError
from bertqa_build.data import TrainingWindows, collate
from bertqa_build.errors import CheckpointError
from bertqa_build.model import SpanModel, as_span_model
from bertqa_build.quiet import quiet
from bertqa_build.recipe import Quantization

WEIGHTS_FILE = "model.safetensors"
NNCF_FILE = "nncf.json"
CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"

# NNCF compiles its quantisers once on each machine, and gives up after a minute.
os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", "0")


def quantize(
    model: nn.Module,
    calibration: TrainingWindows | Sequence[dict[str, Any]],
    settings: Quantization | None = None,
) -> nn.Module:
    """Return a copy of `model` with INT8 quantisers, calibrated, ready to export or to train on.

    `model` is a `BertForQuestionAnswering` with eager attention, or a `SpanModel`; the copy has the
    inputs and outputs of a `SpanModel`. `calibration` holds windows with `input_ids`,
    `attention_mask` and `token_type_ids`, as `training_windows` gives them; up to
    `settings.calibration_windows` of them are run one at a time, because padding would distort the
    ranges. Raises DataError where there is none.
    """
    settings = settings or Quantization()
    count = min(len(calibration), settings.calibration_windows)
    if not count:
        raise DataError("The calibration set is empty: no window can be made of it.")
    samples = [_inputs(calibration[index]) for index in range(count)]
    span_model = as_span_model(model).eval()
    with quiet(), torch.no_grad():
        quantized: nn.Module = nncf.quantize(
            span_model,
            nncf.Dataset(samples),
            subset_size=count,
            preset=nncf.QuantizationPreset(settings.preset),
            model_type=nncf.ModelType.TRANSFORMER,
            fast_bias_correction=settings.fast_bias_correction,
            ignored_scope=nncf.IgnoredScope(patterns=settings.keep_floating_point),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(
                    matmul=settings.smooth_quant_alpha
                )
            ),
        )
    return _settle(quantized)


def save_quantized(model: nn.Module, directory: Path, tokenizer_json: str) -> None:
    """Write a quantised model so that `load_quantized` reads it and it can be trained on.

    The directory then holds the weights with the quantisers' ranges (`model.safetensors`), where
    NNCF put the quantisers (`nncf.json`), BERT's `config.json` and the `tokenizer.json`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    bert: Any = model.bert
    config: dict[str, Any] = nncf.torch.get_config(model)
    (directory / NNCF_FILE).write_text(json.dumps(config), encoding="utf-8")
    (directory / CONFIG_FILE).write_text(bert.config.to_json_string(), encoding="utf-8")
    (directory / TOKENIZER_FILE).write_text(tokenizer_json, encoding="utf-8")
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        directory / WEIGHTS_FILE,
    )


def load_quantized(directory: Path) -> nn.Module:
    """Read what `save_quantized` wrote. Raises CheckpointError where it is not whole."""
    try:
        config = BertConfig.from_json_file(directory / CONFIG_FILE)
        compression = json.loads((directory / NNCF_FILE).read_text(encoding="utf-8"))
        tensors = load_file(directory / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{directory} holds no quantised model that is whole.", detail=str(error)
        ) from error
    config._attn_implementation = "eager"
    with quiet():
        bert = BertForQuestionAnswering(config)  # type: ignore[no-untyped-call]
        model: nn.Module = nncf.torch.load_from_config(SpanModel(bert), compression)
    model.load_state_dict(tensors)
    return _settle(model)


def _settle(model: nn.Module) -> nn.Module:
    """Make a quantised model fit to be saved and trained on.

    NNCF gives one SmoothQuant factor to several products. None is trained, so that an engine can
    multiply once for all of them. They must stay one module, because NNCF finds the quantisers
    behind them by its name; but safetensors refuses shared tensors, so the state holds copies.
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


def _inputs(window: dict[str, Any]) -> tuple[Tensor, ...]:
    batch = collate([window])
    return tuple(batch[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
