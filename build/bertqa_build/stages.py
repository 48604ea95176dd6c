"""The trainings that a recipe asks for, each skipped where its result is there already."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import BertForQuestionAnswering, PrinterCallback, TrainerCallback

from bertqa_build.checkpoint import Checkpoint
from bertqa_build.data import TrainingWindows, load_questions, training_windows
from bertqa_build.errors import BuildError
from bertqa_build.quantization import (
    TOKENIZER_FILE,
    load_quantized,
    quantize,
    save_quantized,
)
from bertqa_build.quiet import quiet
from bertqa_build.recipe import DataSource, Recipe, Training
from bertqa_build.training import QATrainer, freeze_embeddings, train, training_arguments

FINETUNED = "finetuned"
CALIBRATED = "calibrated"
INT8_PYTORCH = "pytorch"


def finetune(
    recipe: Recipe,
    checkpoint: Checkpoint,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> BertForQuestionAnswering:
    """Make a question-answering model of the checkpoint, as `recipe.finetune` says.

    The result is kept in `work_dir/finetuned`, in Hugging Face layout, beside the training's own
    checkpoints; a finished one is loaded, an interrupted training goes on. Changes the
    checkpoint's model in place. Raises TrainingError and DataError.
    """
    settings = recipe.finetune
    if settings is None:
        raise BuildError("The recipe has no finetune section.")
    finished = work_dir / FINETUNED
    if not finished.is_dir():
        model = checkpoint.model
        _train(recipe, settings, checkpoint, model, work_dir / "finetuning", callbacks)
        with _whole(finished) as staged, quiet():
            model.save_pretrained(staged)
            (staged / TOKENIZER_FILE).write_text(checkpoint.tokenizer_json, encoding="utf-8")
    with quiet():
        finetuned: BertForQuestionAnswering = BertForQuestionAnswering.from_pretrained(
            finished, dtype=torch.float32, attn_implementation="eager", local_files_only=True
        )
    return finetuned


def quantize_and_train(
    recipe: Recipe,
    checkpoint: Checkpoint,
    model: BertForQuestionAnswering,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> nn.Module:
    """Return an INT8 copy of `model`, trained on as `recipe.qat` says if it says so.

    `model` is what the checkpoint became, and is the teacher. The result is kept in
    `work_dir/pytorch`, as `save_quantized` writes it; a finished one is loaded, an interrupted
    training goes on. Raises TrainingError and DataError.
    """
    calibrated, finished = work_dir / CALIBRATED, work_dir / INT8_PYTORCH
    if not finished.is_dir():
        if not calibrated.is_dir():
            windows = _windows(
                recipe,
                recipe.calibration,
                checkpoint.tokenizer_json,
                max_seq_len=recipe.model.max_seq_len,
                doc_stride=recipe.model.doc_stride,
                max_windows=recipe.quantization.calibration_windows,
            )
            with _whole(calibrated) as staged:
                quantized = quantize(model, windows, recipe.quantization)
                save_quantized(quantized, staged, checkpoint.tokenizer_json)
        student = load_quantized(calibrated)
        if recipe.qat is not None:
            teacher = model if recipe.qat.distillation else None
            _train(
                recipe, recipe.qat, checkpoint, student, work_dir / "training", callbacks, teacher
            )
        with _whole(finished) as staged:
            save_quantized(student, staged, checkpoint.tokenizer_json)
    return load_quantized(finished)


def _train(
    recipe: Recipe,
    settings: Training,
    checkpoint: Checkpoint,
    model: nn.Module,
    directory: Path,
    callbacks: Sequence[TrainerCallback],
    teacher: nn.Module | None = None,
) -> None:
    windows = _windows(
        recipe,
        recipe.data.train,
        checkpoint.tokenizer_json,
        max_seq_len=settings.max_seq_len,
        doc_stride=settings.doc_stride,
        max_windows=settings.max_windows,
    )
    if settings.freeze_embeddings:
        freeze_embeddings(model)
    trainer = QATrainer(
        model,
        training_arguments(settings, directory, seed=recipe.seed),
        teacher=teacher,
        distillation=getattr(settings, "distillation", None),
        train_dataset=windows,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    train(trainer)
    model.cpu().eval()


def _windows(
    recipe: Recipe,
    sources: Sequence[DataSource],
    tokenizer_json: str,
    *,
    max_seq_len: int,
    doc_stride: int,
    max_windows: int | None,
) -> TrainingWindows:
    return training_windows(
        load_questions(recipe, sources),
        tokenizer_json,
        max_seq_len=max_seq_len,
        doc_stride=doc_stride,
        max_question_len=recipe.model.max_question_len,
        max_windows=max_windows,
        seed=recipe.seed,
    )


@contextmanager
def _whole(directory: Path) -> Iterator[Path]:
    """Let a directory appear with all that it holds, or not at all."""
    staged = directory.with_name(f".{directory.name}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    yield staged
    staged.rename(directory)
