"""The arguments of transformers that a training of a span model cannot follow, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from nncf.torch.function_hook.wrapper import ATR_HOOK_STORAGE
from torch import nn
from transformers import Trainer, TrainingArguments, get_scheduler

from bertqa_build.errors import TrainingError
from bertqa_build.quiet import quiet

_HEADS_OF_GENERATORS = "it is for models that write texts"
_SHARDS = (
    "the quantisers, and the copy of the teacher, must be whole on each device; start the "
    "training with torchrun instead, which gives each device a copy"
)
_OWN_FILES = (
    "its checkpoints are those of a SpanModel, which no `from_pretrained` reads; upload what "
    "`save_quantized` or `save_pretrained` wrote"
)
_ROUNDS = (
    "it rounds the model itself, for good, outside a training; leave it out, and `bf16` computes "
    "in bf16 with FP32 weights"
)
_HOOKS = "NNCF's quantisers are hooks of Python, which are lost when PyTorch"
_AGAIN = (
    f"{_HOOKS} computes a layer again; lower per_device_train_batch_size and raise "
    "gradient_accumulation_steps instead"
)
_COMPILED = f"{_HOOKS} compiles the model"
_NOISE = (
    "the noise would move the embeddings out of the ranges that the quantisers have; use it in the "
    "fine-tuning before"
)
_COPIED = (
    f"{_HOOKS} copies the model to another device; start the training with torchrun, or show it "
    "one GPU with CUDA_VISIBLE_DEVICES"
)

_SMALLEST_IN_BLOCKS = (64, 64)
"""The shape of a parameter whose moments are not too few for an optimiser of 8 or 4 bits."""

REFUSED: Mapping[str, tuple[Callable[[TrainingArguments], Any], str]] = {
    "bf16_full_eval": (lambda args: args.bf16_full_eval, _ROUNDS),
    "fp16_full_eval": (lambda args: args.fp16_full_eval, _ROUNDS),
    "deepspeed": (lambda args: args.deepspeed, _SHARDS),
    "fsdp": (lambda args: args.fsdp, _SHARDS),
    "parallelism_config": (lambda args: args.parallelism_config, _SHARDS),
    "push_to_hub": (lambda args: args.push_to_hub, _OWN_FILES),
    "use_liger_kernel": (lambda args: args.use_liger_kernel, _HEADS_OF_GENERATORS),
    "label_names": (
        lambda args: args.label_names not in (None, ["start_positions", "end_positions"]),
        "the loss is that of start_positions and end_positions",
    ),
}
"""Refused for every model: how an argument shows, and the reason."""

REFUSED_IN_INT8: Mapping[str, tuple[Callable[[TrainingArguments], Any], str]] = {
    "gradient_checkpointing": (lambda args: args.gradient_checkpointing, _AGAIN),
    "torch_compile": (lambda args: args.torch_compile, _COMPILED),
    "neftune_noise_alpha": (lambda args: args.neftune_noise_alpha, _NOISE),
    "several GPUs in one process": (lambda args: args.n_gpu > 1, _COPIED),
}
"""Refused for a model with quantisers alone."""


def require_trainable(
    args: TrainingArguments, model: nn.Module, *, own_optimizer: bool = False
) -> None:
    """Refuse arguments that a training would die of, or would pass over, before it begins.

    Args:
        args: The Trainer's arguments.
        model: The model to train, with NNCF's quantisers or without.
        own_optimizer: Whether the Trainer is given an optimiser, in place of that of `args`.

    Raises:
        TrainingError: An argument is refused; the message says which, and why.
    """
    refused = {**REFUSED, **(REFUSED_IN_INT8 if is_quantized(model) else {})}
    for name, (is_set, reason) in refused.items():
        if is_set(args):
            what = "An INT8 model" if name in REFUSED_IN_INT8 else "A span model"
            raise TrainingError(f"{what} cannot be trained with {name}: {reason}.")
    if not own_optimizer:
        _require_optimizer(args, model)


def is_quantized(model: nn.Module) -> bool:
    """Return whether a model has NNCF's quantisers.

    Args:
        model: What `quantize` returned, or any other.
    """
    return hasattr(model, ATR_HOOK_STORAGE)


def _require_optimizer(args: TrainingArguments, model: nn.Module) -> None:
    """Take a step of one parameter, with the optimiser and the schedule of the training."""
    try:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(args, model)  # type: ignore[arg-type]
        if "params" in settings or "model" in settings or "optimizer_dict" in settings:
            raise ValueError(f"optim {_value(args.optim)} works on layers of its own choice")
        weight = nn.Parameter(torch.zeros(_SMALLEST_IN_BLOCKS, device=args.device))
        weight.grad = torch.zeros_like(weight)
        optimizer = kind([weight], **settings)
        if hasattr(optimizer, "train"):  # the form that accelerate gives some before a step
            optimizer.train()
        with quiet():
            optimizer.step()
        get_scheduler(
            args.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=0,
            num_training_steps=1,
            scheduler_specific_kwargs=args.lr_scheduler_kwargs,  # type: ignore[arg-type]
        )
    except Exception as error:  # whatever a library says that is missing or does not know it
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"The training cannot begin with optim {_value(args.optim)} and lr_scheduler_type "
            f"{_value(args.lr_scheduler_type)}: {reason}",
            detail=str(error),
        ) from error


def _value(choice: Any) -> str:
    return str(getattr(choice, "value", choice))
