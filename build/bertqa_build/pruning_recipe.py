"""The keys of a recipe's pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from bertqa_build.data_recipe import Section
from bertqa_build.training_recipe import Distillation, Steps

Speedup = Annotated[float, Field(gt=1, le=1000)]


class PruningPlace(Section):
    """Where the speed-up holds: the requests that are timed."""

    batch: int = Field(default=8, ge=1, le=1024, description="Windows in a request.")
    tokens: int = Field(default=192, ge=8, le=512, description="Tokens in a window.")
    precision: Literal["FP32", "INT8"] = Field(
        default="INT8", description="The precision in which the speed-up holds."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Cores for a request; all of the machine's if left out."
    )


class PruningDistillation(Distillation):
    """How much a pruned model learns from the unpruned one.

    To the loss of `qat.distillation` is added `hidden` times the mean squared difference of the
    hidden states behind each layer, token by token, as a share of the teacher's own mean square.
    """

    weight: float = Field(default=1.0, ge=0, le=1, description="Share of the teacher in the loss.")
    hidden: float = Field(
        default=0.5, ge=0, description="What the hidden states count beside a loss that counts 1."
    )


class Pruning(Steps):
    """Smaller versions of the model, each so many times as fast as the unpruned one."""

    speedup: Annotated[
        tuple[Speedup, ...],
        BeforeValidator(lambda given: given if isinstance(given, list | tuple) else [given]),
    ] = Field(
        max_length=64,
        description=(
            "How many times as fast as the unpruned model in the same precision; a list makes one "
            "version each, from one run."
        ),
    )
    at: PruningPlace = Field(default_factory=PruningPlace)
    latency_table: Path | None = Field(
        default=None,
        description=(
            "A file of `bert-qa bench latency-table`, made on the machine that the versions are "
            "for; the default is to measure on this one. Relative to the recipe."
        ),
    )
    steps: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Steps of pruning and training on the way to the largest speed-up.",
    )
    calibration_windows: int = Field(
        default=1024, ge=1, description="Windows to learn from what can be removed."
    )
    search_trials: int = Field(
        default=50, ge=0, description="Divisions among the layers that are tried in a step."
    )
    epochs_per_step: float = Field(
        default=1.0,
        ge=0,
        description="Passes over the windows in a step; 0 prunes at once and does not train.",
    )
    learning_rate: float = Field(
        default=1.0e-4, gt=0, lt=1, description="Peak learning rate of AdamW."
    )
    distillation: PruningDistillation = Field(default_factory=PruningDistillation)

    @field_validator("speedup")
    @classmethod
    def _ascending(cls, speedups: tuple[float, ...]) -> tuple[float, ...]:
        if not speedups:  # A minimum length would be missed, too, where each item is refused.
            raise ValueError("it names none: name at least one, such as 2")
        twice = {each for each in speedups if speedups.count(each) > 1}
        if twice:
            raise ValueError(f"{min(twice):g} is named twice")
        return tuple(sorted(speedups))

    @property
    def epochs(self) -> float:
        """Passes over the windows in a step."""
        return self.epochs_per_step
