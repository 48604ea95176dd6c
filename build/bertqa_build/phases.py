"""The trainings that a recipe asks for, each skipped where its result is there already."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertForQuestionAnswering, TrainerCallback

from bertqa_build.checkpoint import Checkpoint
from bertqa_build.data import TrainingWindows, load_questions, training_windows
from bertqa_build.errors import BuildError
from bertqa_build.recipe import Recipe, Training
from bertqa_build.training import QATrainer, freeze_embeddings, train, training_arguments

FINETUNED = "finetuned"


def finetune(
    recipe: Recipe,
    checkpoint: Checkpoint,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> BertForQuestionAnswering:
    """Make a question-answering model of the checkpoint, as `recipe.finetune` says.

    The result is kept in `work_dir/finetuned`, in Hugging Face layout, beside the training's own
    checkpoints; a finished one is loaded, an interrupted training goes on. Changes the
    checkpoint's model in place.
    """
    settings = recipe.finetune
    if settings is None:
        raise BuildError("The recipe has no finetune section.")
    finished = work_dir / FINETUNED
    if not finished.is_dir():
        model = checkpoint.model
        windows = read_windows(recipe, settings, checkpoint.tokenizer_json)
        if settings.freeze_embeddings:
            freeze_embeddings(model)
        arguments = training_arguments(settings, work_dir / "finetuning", seed=recipe.seed)
        trainer = QATrainer(model, arguments, train_dataset=windows, callbacks=list(callbacks))
        train(trainer)
        staged = work_dir / f".{FINETUNED}"
        shutil.rmtree(staged, ignore_errors=True)
        model.save_pretrained(staged)
        (staged / "tokenizer.json").write_text(checkpoint.tokenizer_json, encoding="utf-8")
        staged.rename(finished)
    return BertForQuestionAnswering.from_pretrained(
        finished, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )


def read_windows(recipe: Recipe, settings: Training, tokenizer_json: str) -> TrainingWindows:
    """Read the training data of a recipe, cut as `settings` say."""
    return training_windows(
        load_questions(recipe, recipe.data.train),
        tokenizer_json,
        max_seq_len=settings.max_seq_len,
        doc_stride=settings.doc_stride,
        max_question_len=recipe.model.max_question_len,
        max_windows=settings.max_windows,
        seed=recipe.seed,
    )
