"""The stages of a build that train or quantise; each is skipped where its result exists."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoConfig, PreTrainedModel, PrinterCallback, TrainerCallback

from bertqa.artifact import sync
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.checkpoint_weights import from_directory
from bertqa_build.compilation import compiled_quantizers
from bertqa_build.data import TrainingWindows, training_windows
from bertqa_build.errors import BuildError
from bertqa_build.model import SpanModel
from bertqa_build.processes import from_first
from bertqa_build.quantization import (
    TOKENIZER_FILE,
    load_quantized,
    quantize,
    save_quantized,
)
from bertqa_build.quiet import quiet
from bertqa_build.recipe import DataSource, Pruning, Recipe, Training
from bertqa_build.recipe_data import RecipeData, key_of
from bertqa_build.training import QATrainer, freeze_embeddings, train, training_arguments
from bertqa_build.work_files import CALIBRATED, FINETUNED, INT8_PYTORCH


def finetune(
    recipe: Recipe,
    data: RecipeData,
    checkpoint: Checkpoint,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> PreTrainedModel:
    """Fine-tune a checkpoint on questions, as `recipe.finetune` says.

    Args:
        recipe: The recipe, with a `finetune` section.
        data: The recipe's data.
        checkpoint: What to train; its model is changed in place.
        work_dir: Keeps the training's checkpoints, and the result in `finetuned/`, in Hugging
            Face layout. A finished result is loaded; an interrupted training is resumed.
        callbacks: The Trainer's callbacks, such as a `ProgressCallback`.

    Returns:
        The fine-tuned model, in FP32.

    Raises:
        BuildError: The recipe has no `finetune` section.
        TrainingError: The training had to stop.
        DataError: The training data cannot be read or used.
    """
    settings = recipe.finetune
    if settings is None:
        raise BuildError("The recipe has no finetune section.")
    finished = work_dir / FINETUNED
    model = checkpoint.model

    if not from_first(finished.is_dir):
        train_stage(recipe, data, settings, checkpoint, model, work_dir / "finetuning", callbacks)
        from_first(lambda: save_checkpoint(model, checkpoint, finished))
    return load_saved(finished)


def quantize_and_train(
    recipe: Recipe,
    data: RecipeData,
    checkpoint: Checkpoint,
    model: PreTrainedModel,
    work_dir: Path,
    callbacks: Sequence[TrainerCallback] = (),
    *,
    teacher: PreTrainedModel | None = None,
) -> SpanModel:
    """Quantise a model, and train it further as `recipe.qat` says.

    Args:
        recipe: The recipe. Without a `qat` section the model is calibrated only.
        data: The recipe's data.
        checkpoint: Where the model comes from.
        model: The FP32 model, which is quantised. It is not changed.
        work_dir: Keeps the training's checkpoints, and the result in `pytorch/`, as
            `save_quantized` writes it. A finished result is loaded; an interrupted training is
            resumed.
        callbacks: The Trainer's callbacks, such as a `ProgressCallback`.
        teacher: The FP32 model to learn from; `model` if left out.

    Returns:
        The INT8 model, as `load_quantized` returns it.

    Raises:
        TrainingError: The training had to stop.
        DataError: The training or calibration data cannot be read or used.
        BuildError: NNCF could not compile its quantisers in time.
    """
    calibrated, finished = work_dir / CALIBRATED, work_dir / INT8_PYTORCH

    def calibrate() -> None:
        if calibrated.is_dir():
            return
        windows = calibration_windows(recipe, data, checkpoint.tokenizer_json)
        quantized = quantize(model, windows, recipe.quantization)
        save(quantized, calibrated)

    def save(made: SpanModel, directory: Path) -> None:
        with appearing(directory) as staged:
            save_quantized(made, staged, checkpoint.tokenizer_json)

    if not from_first(finished.is_dir):
        from_first(calibrate)
        student = load_quantized(calibrated)
        if recipe.qat is not None:
            distillation = recipe.qat.distillation
            train_stage(
                recipe,
                data,
                recipe.qat,
                checkpoint,
                student,
                work_dir / "training",
                callbacks,
                functools.partial(
                    QATrainer,
                    teacher=(teacher or model) if distillation else None,
                    distillation=distillation,
                ),
            )
        from_first(lambda: save(student, finished))
    return load_quantized(finished)


def train_stage(
    recipe: Recipe,
    data: RecipeData,
    settings: Training | Pruning,
    checkpoint: Checkpoint,
    model: PreTrainedModel | SpanModel,
    directory: Path,
    callbacks: Sequence[TrainerCallback],
    trainer_of: Callable[..., QATrainer] = QATrainer,
) -> None:
    """Train a model on the recipe's training data; an interrupted training is resumed.

    Args:
        recipe: The recipe.
        data: The recipe's data.
        settings: The section of the recipe that the training follows.
        checkpoint: Where the model comes from.
        model: The model, which is changed in place.
        directory: Keeps the training's checkpoints.
        callbacks: The Trainer's callbacks, such as a `ProgressCallback`.
        trainer_of: Makes the trainer, with a teacher where there is one.

    Raises:
        TrainingError: The training had to stop.
        DataError: The training data cannot be read or used.
    """
    windows = stage_windows(recipe, data, checkpoint.tokenizer_json, settings)
    if settings.freeze_embeddings:
        freeze_embeddings(model)
    trainer = trainer_of(
        model,
        training_arguments(settings, directory, seed=recipe.seed),
        train_dataset=windows,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    with quiet(), compiled_quantizers():
        train(trainer)
    model.cpu().eval()


def recipe_windows(
    recipe: Recipe,
    data: RecipeData,
    sources: Sequence[DataSource],
    tokenizer_json: str,
    *,
    max_seq_len: int,
    doc_stride: int,
    max_windows: int | None,
) -> TrainingWindows:
    """Return the windows of some of the recipe's data, made once; see `training_windows`."""
    key = tuple(map(key_of, sources)), max_seq_len, doc_stride, max_windows
    if key not in data.windows:
        data.windows[key] = training_windows(
            data.questions(sources),
            tokenizer_json,
            max_seq_len=max_seq_len,
            doc_stride=doc_stride,
            max_question_len=recipe.model.max_question_len,
            max_windows=max_windows,
            seed=recipe.seed,
        )
    return data.windows[key]


def calibration_windows(recipe: Recipe, data: RecipeData, tokenizer_json: str) -> TrainingWindows:
    """Return the windows that a recipe's quantisers are calibrated on.

    Args:
        recipe: The recipe.
        data: Its data.
        tokenizer_json: The text of the tokenizer's `tokenizer.json`.

    Raises:
        DataError: The data cannot be read or used.
    """
    return recipe_windows(
        recipe,
        data,
        recipe.calibration,
        tokenizer_json,
        max_seq_len=recipe.model.max_seq_len,
        doc_stride=recipe.model.doc_stride,
        max_windows=recipe.quantization.calibration_windows,
    )


def stage_windows(
    recipe: Recipe, data: RecipeData, tokenizer_json: str, settings: Training | Pruning
) -> TrainingWindows:
    """Return the windows of a recipe's training.

    Args:
        recipe: The recipe.
        data: Its data.
        tokenizer_json: The text of the tokenizer's `tokenizer.json`.
        settings: The section of the recipe that the training follows.

    Raises:
        DataError: The data cannot be read or used.
    """
    return recipe_windows(
        recipe,
        data,
        recipe.data.train,
        tokenizer_json,
        max_seq_len=settings.max_seq_len,
        doc_stride=settings.doc_stride,
        max_windows=settings.max_windows,
    )


def save_checkpoint(model: PreTrainedModel, checkpoint: Checkpoint, directory: Path) -> None:
    """Write a model in Hugging Face layout, as a whole or not at all.

    Args:
        model: The model.
        checkpoint: Where it comes from, whose tokenizer it has.
        directory: Where to write; it does not exist yet.
    """
    with appearing(directory) as staged, quiet():
        # By default names go back to those of the checkpoint's files, wrappers and all.
        model.save_pretrained(staged, save_original_format=False)
        (staged / TOKENIZER_FILE).write_text(checkpoint.tokenizer_json, encoding="utf-8")


def load_saved(directory: Path) -> PreTrainedModel:
    """Read a model that `save_checkpoint` wrote, pruned or not.

    Args:
        directory: Where it is.

    Returns:
        The model, in FP32 and evaluation mode, with eager attention.
    """
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    model: PreTrainedModel = from_directory(config, directory).eval()
    return model


@contextmanager
def appearing(directory: Path) -> Iterator[Path]:
    """Let a directory appear with its complete contents, or not at all.

    The contents are on the disk before the name is: a directory that is there counts as finished,
    also after a power cut.

    Args:
        directory: The directory, which does not exist yet.

    Yields:
        The directory to write to, which is renamed at the end of the block.
    """
    staged = directory.with_name(f".{directory.name}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    yield staged
    for path in (*staged.rglob("*"), staged):
        sync(path)
    staged.rename(directory)
    sync(directory.parent)
