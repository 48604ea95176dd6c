"""Training that can be interrupted: fine-tuning, and quantisation-aware training with a teacher."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    Trainer,
    TrainingArguments,
)

from bertqa_build.data import TrainingWindows, collate
from bertqa_build.errors import TrainingError
from bertqa_build.model import MASKED, as_span_model
from bertqa_build.recipe import Distillation, Training

_KEPT_CHECKPOINTS = 2
_STATE_FILE = "trainer_state.json"
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_REPLACED = ("forward", "_original_forward")  # by accelerate, for autocast, and for good
_TARGETS = ("start_positions", "end_positions")


class QATrainer(Trainer):
    """A Hugging Face `Trainer` for span models, which can learn from a teacher.

    It trains a `BertForQuestionAnswering`, a `SpanModel`, or what `quantize` makes of them, on the
    usual batches: `input_ids`, `attention_mask`, `token_type_ids` INT64 `[batch, tokens]`,
    `start_positions`, `end_positions` INT64 `[batch]`. With a `teacher` the loss is that of
    `distillation`. Dropout is turned off, and a loss that is no number stops the training at once
    with a TrainingError. `train` goes on from the last whole checkpoint if it is told to.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        teacher: nn.Module | None = None,
        distillation: Distillation | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("data_collator", collate)
        student = as_span_model(model)
        for module in student.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        super().__init__(model=student, args=args, **kwargs)
        self.label_names = list(_TARGETS)
        self.distillation = distillation or Distillation()
        self.teacher = None if teacher is None else as_span_model(teacher).to(args.device)
        if self.teacher is not None:
            self.teacher.eval().requires_grad_(False)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of a batch, a scalar, and with `return_outputs` the logits too."""
        batch = {name: inputs[name] for name in _INPUTS}
        mask = batch["attention_mask"].bool()
        logits = [_masked(each, mask) for each in model(**batch)]
        targets = [inputs[name] for name in _TARGETS]
        loss = _mean(map(functional.cross_entropy, logits, targets))
        if self.teacher is not None:
            with torch.no_grad():
                taught = [_masked(each, mask) for each in self.teacher(**batch)]
            weight = self.distillation.weight
            loss = (1 - weight) * loss + weight * distillation_loss(
                logits, taught, self.distillation.temperature
            )
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss.item()} at step {self.state.global_step + 1} of "
                f"{self.state.max_steps}. Try a lower learning_rate or more warmup_steps; the "
                f"checkpoints before are kept in {self.args.output_dir}."
            )
        if not return_outputs:
            return loss
        return loss, dict(zip(("start_logits", "end_logits"), logits, strict=True))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as the Trainer does; the model then computes in FP32 again, not in bf16."""
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
        if isinstance(dataset, TrainingWindows):
            return dataset.sampler(self.args.train_batch_size)
        return super()._get_train_sampler(train_dataset)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = [*_INPUTS, *_TARGETS]  # type: ignore[assignment]


def distillation_loss(student: list[Tensor], teacher: list[Tensor], temperature: float) -> Tensor:
    """Return `temperature**2 * KL(teacher || student)`, the mean over the outputs and the batch.

    Logits are `[batch, tokens]`; positions that both mask have no share in it.
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
    settings: Training, output_dir: Path, *, seed: int, bf16: bool | None = None
) -> TrainingArguments:
    """Return the Trainer's arguments for a recipe's settings; bf16 where the machine has it."""
    return TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        bf16=has_bf16() if bf16 is None else bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=_KEPT_CHECKPOINTS,
        logging_steps=10,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        dataloader_pin_memory=False,
    )


def has_bf16() -> bool:
    """Whether this machine computes in bf16 at full speed."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def last_checkpoint(directory: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end, or None."""
    checkpoints = {
        int(match[1]): path
        for path in directory.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and _is_whole(path)
    }
    return checkpoints[max(checkpoints)] if checkpoints else None


def train(trainer: QATrainer) -> None:
    """Train to the end, from the last whole checkpoint if there is one.

    Raises TrainingError where the disk has no room for the checkpoints, or the loss is no number.
    """
    directory = Path(str(trainer.args.output_dir))
    directory.mkdir(parents=True, exist_ok=True)
    _require_room(trainer, directory)
    checkpoint = last_checkpoint(directory)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def freeze_embeddings(model: nn.Module) -> None:
    """Leave the embeddings, and the quantisers of their weights, out of the training."""
    for name, parameter in model.named_parameters():
        if re.search(r"[./]embeddings[./]", name):
            parameter.requires_grad_(False)


def _is_whole(checkpoint: Path) -> bool:
    """Whether the file that the Trainer writes last is there and whole."""
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
    needed = (_KEPT_CHECKPOINTS + 1) * (weights + moments)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise TrainingError(
            f"{directory} has {free / 2**20:.0f} MiB of room, but the checkpoints of this training "
            f"take {needed / 2**20:.0f} MiB. Free some, or choose another work directory."
        )


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.float().masked_fill(~mask, MASKED)


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
