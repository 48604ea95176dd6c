"""Pruning in steps, each followed by a training, of which every one is kept to resume from."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from bertqa._progress import OnProgress, Progress
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.data import TrainingWindows
from bertqa_build.errors import BuildError
from bertqa_build.families import family_of
from bertqa_build.fingerprint import DataDigests, step_fingerprint
from bertqa_build.model import SpanModel
from bertqa_build.processes import from_first
from bertqa_build.pruning.choosing import choose_sizes
from bertqa_build.pruning.latency import LatencyTable
from bertqa_build.pruning.measured import speedup_of
from bertqa_build.pruning.one_shot import Pruner
from bertqa_build.pruning.recovery import RecoveryTrainer
from bertqa_build.pruning.sizes import Sizes, sizes_of
from bertqa_build.pruning.statistics import batches
from bertqa_build.recipe import Pruning, Recipe
from bertqa_build.recipe_data import RecipeData
from bertqa_build.stages import load_saved, recipe_windows, save_checkpoint, train_stage
from bertqa_build.work_files import DISTILLED, PRUNED, version_folder

JUDGED_WINDOWS = 128
"""Windows of the calibration data on which a division among the layers is judged."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way to the largest speed-up.

    Attributes:
        speedup: How many times as fast as the unpruned model it makes the model.
        is_version: Whether the recipe asks for a version of this speed-up.
        fingerprint: The digest of all that decides what it makes.
        before: The step whose model it starts from, None where that is the unpruned one.
    """

    speedup: float
    is_version: bool
    fingerprint: str
    before: Step | None


def speedups_of(asked: Sequence[float], steps: int) -> list[float]:
    """Return the speed-ups of the steps: those that are asked for, and more on the way to them.

    A step is added where the model would lose the largest share of its time at once.

    Args:
        asked: The speed-ups that are asked for, ascending.
        steps: How many steps there should be; fewer than are asked for add none.
    """
    marks = [1.0, *asked]
    parts = [1] * len(asked)
    while sum(parts) < steps:
        shares = [
            math.log(last / first) / count
            for first, last, count in zip(marks, marks[1:], parts, strict=False)
        ]
        parts[shares.index(max(shares))] += 1
    return [
        last if number == count else first * (last / first) ** (number / count)
        for first, last, count in zip(marks, marks[1:], parts, strict=False)
        for number in range(1, count + 1)
    ]


def steps_of(recipe: Recipe, fp32: str, table: str, data: DataDigests) -> list[Step]:
    """Return the steps of a recipe's pruning.

    Without training there is nothing to gain from steps: each version is pruned at once.

    Args:
        recipe: The recipe, with a `pruning` section.
        fp32: The fingerprint of the unpruned FP32 version.
        table: The digest of the latency table.
        data: The digests of the recipe's data.
    """
    pruning = recipe.pruning
    assert pruning is not None
    asked = pruning.speedup
    steps: list[Step] = []
    for speedup in speedups_of(asked, pruning.steps) if pruning.epochs else asked:
        before = steps[-1] if steps and pruning.epochs else None
        digest = step_fingerprint(
            recipe, before.fingerprint if before else fp32, speedup, table, data
        )
        steps.append(Step(speedup, speedup in asked, digest, before))
    return steps


class Gradual:
    """Makes the models of the steps; each is made once and kept.

    Args:
        recipe: The recipe, with a `pruning` section.
        data: The recipe's data.
        checkpoint: Where the model comes from.
        model: The unpruned FP32 model, which is the teacher. It is not changed.
        table: The latencies of its modules.
        can_measure: Whether this is the machine that the versions are for.
        folder: Keeps a directory for each step.
        callbacks: Returns the Trainer's callbacks for a stage.
        on_progress: Called with each stage, and how far it is.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: RecipeData,
        checkpoint: Checkpoint,
        model: PreTrainedModel,
        table: LatencyTable,
        can_measure: bool,
        folder: Path,
        callbacks: Any,
        on_progress: OnProgress,
    ) -> None:
        assert recipe.pruning is not None
        self.recipe = recipe
        self.settings: Pruning = recipe.pruning
        self.data = data
        self.checkpoint = checkpoint
        self.teacher = model
        self.table = table
        self.can_measure = can_measure
        self.folder = folder
        self.callbacks = callbacks
        self.on_progress = on_progress

    def model(self, step: Step) -> PreTrainedModel:
        """Return the model of a step, after those before it.

        Args:
            step: The step.

        Returns:
            The model, in FP32 and evaluation mode.

        Raises:
            TrainingError: The training had to stop.
        """
        directory = version_folder(self.folder, PRUNED, step.fingerprint)
        pruned, distilled = directory / PRUNED, directory / DISTILLED
        finished = distilled if self.settings.epochs else pruned
        if not from_first(finished.is_dir):
            if not from_first(pruned.is_dir):
                before = self.model(step.before) if step.before else self.teacher
                from_first(lambda: self._prune(step, before, pruned))
            if self.settings.epochs:
                student = load_saved(pruned)
                self._train(step, student, directory / "training")
                from_first(lambda: save_checkpoint(student, self.checkpoint, distilled))
        return load_saved(finished)

    def _prune(self, step: Step, model: PreTrainedModel, directory: Path) -> None:
        stage = f"Pruning to {step.speedup:.3g}x"
        span = SpanModel(model)
        inputs = list(batches(span, _windows(self.recipe, self.data, self.checkpoint)))
        found = Pruner(
            span,
            inputs,
            _judged(inputs),
            lambda done, of: self.on_progress(
                Progress(f"{stage}: ranking heads and neurons", done, of)
            ),
        )
        trials = self.settings.search_trials
        whole = sizes_of(self.teacher)

        def measured(sizes: Sizes) -> float:
            self.on_progress(Progress(f"{stage}: measuring the speed"))
            return speedup_of(sizes, whole, self.table.place)

        sizes = choose_sizes(
            found,
            self.table,
            step.speedup,
            whole,
            trials=trials,
            seed=self.recipe.seed,
            measured=measured if self.can_measure else None,
            on_trial=lambda done, loss: self.on_progress(
                Progress(
                    f"{stage}: dividing among the layers",
                    done,
                    trials,
                    "trials",
                    f"divergence {loss:.3f}",
                )
            ),
        )
        save_checkpoint(found.independent(sizes).model, self.checkpoint, directory)

    def _train(self, step: Step, student: PreTrainedModel, directory: Path) -> None:
        teaching = self.settings.distillation
        train_stage(
            self.recipe,
            self.data,
            self.settings,
            self.checkpoint,
            student,
            directory,
            self.callbacks(f"Distilling at {step.speedup:.3g}x"),
            functools.partial(
                RecoveryTrainer,
                teacher=SpanModel(self.teacher),
                distillation=teaching,
                hidden=teaching.hidden,
            ),
        )


def require_enough_tokens(recipe: Recipe, data: RecipeData, checkpoint: Checkpoint) -> None:
    """Refuse calibration data from which is not learnt what can be removed.

    Args:
        recipe: The recipe, with a `pruning` section.
        data: The recipe's data.
        checkpoint: The model's checkpoint.

    Raises:
        BuildError: They have fewer tokens than the widest layer has inputs.
    """
    windows = _windows(recipe, data, checkpoint)
    tokens = sum(len(window.input_ids) for window in windows.windows)
    config = checkpoint.model.config
    widest = max(config.hidden_size, family_of(config.model_type).neurons(config))
    if tokens <= widest:
        raise BuildError(
            f"The calibration data are too few to prune by: {len(windows)} windows of {tokens} "
            f"tokens, and what {widest} neurons do is not known from fewer tokens than that. Raise "
            "pruning.calibration_windows, or name more data in data.calibration."
        )


def _windows(recipe: Recipe, data: RecipeData, checkpoint: Checkpoint) -> TrainingWindows:
    """Return the data from which is learnt what can be removed."""
    assert recipe.pruning is not None
    return recipe_windows(
        recipe,
        data,
        recipe.calibration,
        checkpoint.tokenizer_json,
        max_seq_len=recipe.pruning.max_seq_len,
        doc_stride=recipe.pruning.doc_stride,
        max_windows=recipe.pruning.calibration_windows,
    )


def _judged(inputs: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Return batches of all lengths, about `JUDGED_WINDOWS` windows together."""
    windows = sum(len(next(iter(batch.values()))) for batch in inputs)
    return list(inputs[:: max(1, round(windows / JUDGED_WINDOWS))])
