"""Resumable training: fine-tuning, and quantisation-aware training with a teacher."""

from __future__ import annotations

import functools
import json
import re
import shutil
import time
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, Trainer, TrainingArguments

from bertqa.artifact import ATTENTION_MASK
from bertqa_build.arguments import require_trainable
from bertqa_build.data import TrainingWindows, collate
from bertqa_build.errors import TrainingError
from bertqa_build.families import MASKED
from bertqa_build.model import SpanModel, as_span_model
from bertqa_build.processes import connected, count, from_first
from bertqa_build.recipe import Distillation, Pruning, Training

KEPT_CHECKPOINTS = 2
"""How many checkpoints of a training are kept at a time."""
_TIMED_PRODUCTS = 5
_STATE_FILE = "trainer_state.json"
_REPLACED = ("forward", "_original_forward")  # by accelerate, for autocast, and for good
_TARGETS = ("start_positions", "end_positions")
_IGNORED = -100


class QATrainer(Trainer):
    """A Hugging Face `Trainer` for span models, which can learn from a teacher.

    Batches hold `input_ids`, `attention_mask` and `token_type_ids`, INT64 `[batch, tokens]`, of
    which the model gets those that it has; and `start_positions` and `end_positions`, INT64
    `[batch]`. As in transformers, token types that are missing are 0, and positions outside of
    their window do not count. Dropout is turned off. A loss that is not finite stops the training
    at once with a TrainingError.

    Args:
        model: A question-answering model, a `SpanModel`, or what `quantize` makes of them.
        args: The Trainer's arguments.
        teacher: A model to learn from, in FP32, of which a copy is made. It computes in the
            training's precision. Without one the loss is the cross entropy of the gold answers.
        distillation: How much to learn from the teacher.
        **kwargs: The Trainer's other parameters, such as `train_dataset`.

    Raises:
        TrainingError: A training cannot follow one of `args`; `bertqa_build.arguments` has a list.
    """

    def __init__(
        self,
        model: PreTrainedModel | SpanModel,
        args: TrainingArguments,
        *,
        teacher: PreTrainedModel | SpanModel | None = None,
        distillation: Distillation | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("data_collator", collate)
        if kwargs.get("compute_loss_func") is not None:
            raise TrainingError(
                "compute_loss_func has no effect on a QATrainer, which has a loss of its own. "
                "Override `compute_loss` in a subclass."
            )
        student = as_span_model(model)
        given = kwargs.get("optimizers") or (None, None)
        own_optimizer = given[0] is not None or kwargs.get("optimizer_cls_and_kwargs") is not None
        require_trainable(args, student, own_optimizer=own_optimizer)
        self._student = student
        turn_off_dropout(student)
        super().__init__(model=student, args=args, **kwargs)
        self.label_names = list(_TARGETS)
        self.distillation = distillation or Distillation()
        self.teacher = None
        if teacher is not None:
            copy = deepcopy(as_span_model(teacher)).to(args.device)
            self.teacher = copy.eval().requires_grad_(False)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the loss of a batch.

        Args:
            model: The student.
            inputs: The batch, as the class describes it.
            return_outputs: Whether to return the logits too.
            num_items_in_batch: Not used.

        Returns:
            The loss, a scalar; with `return_outputs`, a pair of it and the logits by name, FP32
            `[batch, tokens]`.

        Raises:
            TrainingError: The loss is not finite.
        """
        batch = self._student.inputs_of(inputs)
        mask = batch[ATTENTION_MASK].bool()
        logits = [_masked(each, mask) for each in model(**batch)]
        targets = [_position(inputs[name], mask) for name in _TARGETS]
        smoothing = self.args.label_smoothing_factor
        loss = _mean(
            _cross_entropy(each, target, mask, smoothing)
            for each, target in zip(logits, targets, strict=True)
        )
        if self.teacher is not None:
            with torch.no_grad(), self.accelerator.autocast():
                taught = [
                    _masked(each, mask) for each in self.teacher(**self.teacher.inputs_of(inputs))
                ]
            weight = self.distillation.weight
            loss = (1 - weight) * loss + weight * distillation_loss(
                logits, taught, self.distillation.temperature
            )
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss.item()} at step {self.state.global_step + 1} of "
                f"{self.state.max_steps}. Try a lower learning_rate or more warmup_steps; the "
                f"checkpoints before it are kept in {self.args.output_dir}."
            )
        if not return_outputs:
            return loss
        return loss, dict(zip(("start_logits", "end_logits"), logits, strict=True))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and let the model compute in FP32 again, not in bf16; see `Trainer.train`."""
        assert self.model is not None
        attributes = self.model.__dict__
        own = {name: attributes[name] for name in _REPLACED if name in attributes}
        try:
            return super().train(*args, **kwargs)
        finally:
            for name in _REPLACED:
                attributes.pop(name, None)
            attributes.update(own)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if (
            isinstance(dataset, TrainingWindows)
            and self.args.train_sampling_strategy != "sequential"
        ):
            return dataset.sampler(self._train_batch_size, self.args.data_seed)
        return super()._get_train_sampler(train_dataset)

    def _set_signature_columns_if_needed(self) -> None:
        models = [self._student, *([] if self.teacher is None else [self.teacher])]
        names = dict.fromkeys(name for model in models for name in model.inputs)
        self._signature_columns = [*names, *_TARGETS]  # type: ignore[assignment]


def distillation_loss(student: list[Tensor], teacher: list[Tensor], temperature: float) -> Tensor:
    """Return `temperature**2 * KL(teacher || student)`, the mean over the outputs and the batch.

    Args:
        student: The student's logits, FP32 `[batch, tokens]` each.
        teacher: The teacher's logits, in the same order. Positions that both mask do not count.
        temperature: The divisor of both.
    """
    divergences = (
        functional.kl_div(
            functional.log_softmax(ours / temperature, dim=-1),
            functional.log_softmax(theirs / temperature, dim=-1),
            reduction="batchmean",
            log_target=True,
        )
        for ours, theirs in zip(student, teacher, strict=True)
    )
    return _mean(divergences) * temperature**2


def training_arguments(
    settings: Training | Pruning, output_dir: Path, *, seed: int, bf16: bool | None = None
) -> TrainingArguments:
    """Return the Trainer's arguments for a recipe's settings.

    Args:
        settings: The recipe's section.
        output_dir: Where checkpoints are written.
        seed: Decides all that is random.
        bf16: Whether to train in bf16; None trains in it where this machine is faster so.

    Raises:
        TrainingError: The processes of the build cannot share a step's windows evenly.
    """
    if settings.batch_size % count():
        raise TrainingError(
            f"batch_size is {settings.batch_size}, which {count()} processes cannot share evenly. "
            "Start another number of them, or set another batch_size in the recipe."
        )
    return TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size // count(),
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        bf16=from_first(bf16_is_faster) if bf16 is None else bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=KEPT_CHECKPOINTS,
        logging_steps=10,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        dataloader_pin_memory=False,
    )


@functools.cache
def bf16_is_faster() -> bool:
    """Return whether this machine trains faster in bf16 than in FP32.

    A CPU that has bf16 may still multiply faster in FP32: so do Xeons whose AMX a virtual machine
    hides. There the products of a linear layer, forward and backward, are timed in both.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16")):
        return False
    inputs, weight = (torch.rand(size, requires_grad=True) for size in ((2048, 768), (768, 768)))

    def seconds(bf16: bool) -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = functional.linear(inputs, weight)
        torch.autograd.backward(found, torch.ones_like(found))
        return time.perf_counter() - began

    turns = [(seconds(False), seconds(True)) for _ in range(_TIMED_PRODUCTS)]
    return min(bf16 for _, bf16 in turns) < min(fp32 for fp32, _ in turns)


def last_checkpoint(directory: Path) -> Path | None:
    """Return the newest complete checkpoint in a directory, or None."""
    checkpoints = {
        int(match[1]): path
        for path in directory.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and _is_complete(path)
    }
    return checkpoints[max(checkpoints)] if checkpoints else None


def train(trainer: QATrainer) -> None:
    """Train to the end, from the last complete checkpoint if there is one.

    Args:
        trainer: The trainer; checkpoints are looked for in its `output_dir`.

    Raises:
        TrainingError: The disk has too little room for checkpoints, or the loss is not finite.
    """
    directory = Path(str(trainer.args.output_dir))
    directory.mkdir(parents=True, exist_ok=True)
    _require_room(trainer, directory)
    checkpoint = from_first(lambda: last_checkpoint(directory))
    with connected():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def freeze_embeddings(model: nn.Module) -> None:
    """Exclude the embeddings, and the quantisers of their weights, from the training.

    Args:
        model: The span model, changed in place.
    """
    for name, parameter in model.named_parameters():
        if re.search(r"[./]embeddings[./]", name):
            parameter.requires_grad_(False)


def turn_off_dropout(model: nn.Module) -> None:
    """Let a model compute in training what it computes otherwise.

    Args:
        model: The model, changed in place.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):  # as in ModernBERT
            setattr(module, "attention_dropout", 0.0)  # noqa: B010


def _is_complete(checkpoint: Path) -> bool:
    """Return whether the file that the Trainer writes last is complete."""
    try:
        json.loads((checkpoint / _STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _require_room(trainer: QATrainer, directory: Path) -> None:
    assert trainer.model is not None
    weights = sum(p.numel() * p.element_size() for p in trainer.model.parameters())
    moments = 2 * sum(
        p.numel() * p.element_size() for p in trainer.model.parameters() if p.requires_grad
    )
    needed = (KEPT_CHECKPOINTS + 1) * (weights + moments)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise TrainingError(
            f"{directory} has {free / 2**20:.0f} MiB of room, but the checkpoints of this training "
            f"take {needed / 2**20:.0f} MiB. Delete files, or choose another work directory."
        )


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.float().masked_fill(~mask, MASKED)


def _position(position: Tensor, mask: Tensor) -> Tensor:
    """Return gold positions as transformers takes them, `[batch]`.

    What is negative means the first token, and what is outside of its window does not count.
    """
    position = position.reshape(len(mask)).clamp(min=0)
    width = mask.shape[-1]
    is_token = mask.gather(-1, position.clamp(max=width - 1)[:, None])[:, 0]
    return position.where(is_token & (position < width), _IGNORED)


def _cross_entropy(logits: Tensor, target: Tensor, mask: Tensor, smoothing: float) -> Tensor:
    """Return the cross entropy, of which the share `smoothing` falls on all tokens of a window."""
    counts = target != _IGNORED
    count = counts.sum().clamp(min=1)
    loss = functional.cross_entropy(logits, target, ignore_index=_IGNORED, reduction="sum") / count
    if not smoothing:
        return loss
    logs = functional.log_softmax(logits, dim=-1).masked_fill(~mask, 0.0)
    spread = (logs.sum(-1) / mask.sum(-1))[counts].sum() / count
    return (1 - smoothing) * loss - smoothing * spread


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
