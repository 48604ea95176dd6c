"""What a build would do, how long it would take, and how much disk and memory, by a short probe."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import psutil
import torch

from bertqa._words import counted
from bertqa.qa import QATokenizer
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.data import TrainingWindows, collate
from bertqa_build.data_report import Part, sentences_of
from bertqa_build.model import SpanModel
from bertqa_build.pruning.description import Description
from bertqa_build.pruning.gradual import JUDGED_WINDOWS, speedups_of
from bertqa_build.quiet import quiet
from bertqa_build.recipe import Pruning, Recipe, Training
from bertqa_build.recipe_data import RecipeData
from bertqa_build.stages import calibration_windows, stage_windows
from bertqa_build.workplace import Room

PROBE_SECONDS = 5.0

# What stages take, in times of a plain forward pass of their windows, or of a training step.
_CALIBRATION_PASSES = 5.0
_EVALUATIONS = 2
"""IR and ONNX."""
_QUANTISED_STEP = 2.5
_TEACHER_STEP = 0.35
_FIXED_SECONDS = 20.0
"""Tracing, exporting and compiling one version, besides what grows with the model."""
_EXPORT_SECONDS_OF_GB = 60.0
_SAMPLED_QUESTIONS = 200


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a build before it begins.

    Attributes:
        recipe: What is built.
        data: Its data.
        checkpoint: What it is made of.
        parts: What each stage reads.
        present: The numbers of the versions that are published already, by precision.
        room: What it takes on disk.
        pruning: What pruning is expected to reach, None where the recipe prunes nothing.
        pruned: Whether the versions of each speed-up are published already.
    """

    recipe: Recipe
    data: RecipeData
    checkpoint: Checkpoint
    parts: tuple[Part, ...]
    present: Mapping[str, int]
    room: Room
    pruning: Description | None = None
    pruned: Mapping[float, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a build: what is done, and for how many seconds about."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Speed:
    """How many seconds windows take that are as long as the recipe's usually are.

    Attributes:
        forward: One in a forward pass.
        step: One in a training step.
        evaluation: Those of all questions, in both files of a version.
    """

    forward: float
    step: float
    evaluation: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would do.

    Attributes:
        source: The checkpoint, and how many parameters it has.
        data: What is read, in sentences.
        steps: What is done, in order; empty where all is published already.
        published: What is published, or is there already, in sentences.
        disk: The bytes on disk, at most.
        memory: The bytes of memory, about.
        free_memory: The bytes of memory that are free now.
        parts: What each stage reads, in figures.
        pruning: The latency table and what it predicts, None where nothing is pruned.
    """

    source: str
    data: tuple[str, ...]
    steps: tuple[Step, ...]
    published: tuple[str, ...]
    disk: Room
    memory: int
    free_memory: int
    parts: tuple[Part, ...]
    pruning: Description | None = None

    @property
    def seconds(self) -> float:
        """How long all steps take, about."""
        return sum(step.seconds for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON output."""
        plain = asdict(self)
        published = plain.pop("published")
        return {
            **plain,
            "will_publish": published,
            "seconds": self.seconds,
            "parts": [part.to_dict() for part in self.parts],
            "pruning": self.pruning and self.pruning.to_dict(),
        }


def plan_of(look: Look) -> Plan:
    """Return the plan of a build.

    Args:
        look: What is known of it.
    """
    wanted = ("FP32", "INT8") if look.recipe.makes_int8 else ("FP32",)
    missing = not (all(each in look.present for each in wanted) and all(look.pruned.values()))
    speed = _probe(look) if missing else Speed(0.0, 0.0, 0.0)
    steps = [step for stage in STAGES for step in stage(look, speed)] if missing else []
    parameters = sum(each.numel() for each in look.checkpoint.model.parameters())
    return Plan(
        f"{look.checkpoint.description}, {parameters / 1e6:.1f} million parameters",
        tuple(sentences_of(look.data, list(look.parts))),
        tuple(steps),
        tuple(_published(look, wanted)),
        look.room,
        _memory(look, parameters * 4),
        psutil.virtual_memory().available,
        look.parts,
        look.pruning,
    )


def _fine_tuning(look: Look, speed: Speed) -> Iterator[Step]:
    settings = look.recipe.finetune
    if settings is not None:
        yield _training("Fine-tune", look, settings, speed.step)


def _making_fp32(look: Look, speed: Speed) -> Iterator[Step]:
    if "FP32" not in look.present:
        yield _export(look, "FP32")
        yield _evaluation(look, "FP32", speed)


def _making_int8(look: Look, speed: Speed) -> Iterator[Step]:
    if look.recipe.makes_int8 and "INT8" not in look.present:
        yield from _quantising(look, speed)


def _pruning(look: Look, speed: Speed) -> Iterator[Step]:
    settings = look.recipe.pruning
    missing = [speedup for speedup, there in look.pruned.items() if not there]
    if settings is None or not missing:
        return
    for speedup in speedups_of(settings.speedup, settings.steps) if settings.epochs else missing:
        judged = settings.search_trials * JUDGED_WINDOWS
        passes = _CALIBRATION_PASSES * settings.calibration_windows + judged
        yield Step(f"Prune to {speedup:.3g}x", passes * speed.forward)
        if settings.epochs:
            factor = 1 + _TEACHER_STEP
            yield _training(f"Distil at {speedup:.3g}x", look, settings, speed.step * factor)
        if speedup in missing:
            yield _export(look, "FP32")
            yield _evaluation(look, "FP32", speed)
            yield from _quantising(look, speed)


def _quantising(look: Look, speed: Speed) -> Iterator[Step]:
    recipe = look.recipe
    windows = len(calibration_windows(recipe, look.data, look.checkpoint.tokenizer_json))
    yield Step(
        f"Quantise, calibrated on {windows} windows", windows * speed.forward * _CALIBRATION_PASSES
    )
    if recipe.qat is not None:
        factor = _QUANTISED_STEP + (_TEACHER_STEP if recipe.qat.distillation else 0)
        yield _training("Train in INT8", look, recipe.qat, speed.step * factor)
    yield _export(look, "INT8")
    yield _evaluation(look, "INT8", speed)


STAGES: tuple[Callable[[Look, Speed], Iterator[Step]], ...] = (
    _fine_tuning,
    _making_fp32,
    _making_int8,
    _pruning,
)
"""The stages of a build in their order, each with the steps that it takes."""


def _training(what: str, look: Look, settings: Training | Pruning, seconds: float) -> Step:
    windows = len(stage_windows(look.recipe, look.data, look.checkpoint.tokenizer_json, settings))
    total = round(settings.epochs * windows)
    return Step(
        f"{what} for {counted(settings.epochs, 'epoch')} of {counted(windows, 'window')}, "
        f"{settings.batch_size} a step",
        total * seconds,
    )


def _export(look: Look, precision: str) -> Step:
    size = sum(each.numel() for each in look.checkpoint.model.parameters()) * 4 / 1e9
    return Step(
        f"Export {precision} to OpenVINO IR and ONNX",
        _FIXED_SECONDS + _EXPORT_SECONDS_OF_GB * size,
    )


def _evaluation(look: Look, precision: str, speed: Speed) -> Step:
    return Step(
        f"Evaluate both {precision} files, questions: {len(look.data.evaluation)}",
        speed.evaluation,
    )


def _evaluated_windows(look: Look) -> int:
    """Return about how many windows the evaluation has, from the first of its questions."""
    tokenizer = QATokenizer.from_json(look.checkpoint.tokenizer_json)
    lengths = look.recipe.model
    sample = look.data.evaluation.questions[:_SAMPLED_QUESTIONS]
    windows = sum(
        len(
            tokenizer.windows(
                each.question,
                each.context,
                max_seq_len=lengths.max_seq_len,
                doc_stride=lengths.doc_stride,
                max_question_len=lengths.max_question_len,
            )
        )
        for each in sample
    )
    return round(windows * len(look.data.evaluation) / len(sample))


def _probe(look: Look) -> Speed:
    """Time the model on windows of the usual length, within `PROBE_SECONDS`."""
    recipe, tokenizer_json = look.recipe, look.checkpoint.tokenizer_json
    training = next(iter(recipe.trainings.values()), None)
    tokens, batch = recipe.model.max_seq_len, 1
    windows: TrainingWindows | None = None
    if training is not None:
        windows = stage_windows(recipe, look.data, tokenizer_json, training)
        batch = min(training.batch_size, len(windows))
    elif recipe.makes_int8:
        windows = calibration_windows(recipe, look.data, tokenizer_json)
    if windows is not None:
        tokens = round(float(np.mean([len(each.input_ids) for each in windows.windows])))
    module = SpanModel(look.checkpoint.model)
    words = torch.arange(tokens) % min(module.vocabulary, 1000)
    item = {
        "input_ids": words,
        "attention_mask": torch.ones_like(words),
        "token_type_ids": torch.zeros_like(words),
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def inputs(count: int) -> list[torch.Tensor]:
        made = collate([item] * count)
        return [made[name].to(device) for name in module.inputs]

    def forward() -> None:
        with torch.no_grad():
            module(*inputs(1))

    def step() -> None:
        outputs = module(*inputs(batch))
        sum(each.mean() for each in outputs).backward()
        module.zero_grad(set_to_none=True)

    with quiet():
        module.to(device)
        seconds = _time_of(forward, PROBE_SECONDS / 2)
        stepped = 0.0 if training is None else _time_of(step, PROBE_SECONDS / 2) / batch
        module.cpu()
    return Speed(seconds, stepped, _EVALUATIONS * _evaluated_windows(look) * seconds)


def _time_of(call: Callable[[], None], limit: float) -> float:
    """Return the median seconds of a call, repeated within a limit; the first one warms up."""
    began = time.perf_counter()
    call()
    first = time.perf_counter() - began
    times: list[float] = []
    while sum(times) + (times[-1] if times else first) < limit - first:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return float(np.median(times)) if times else first


def _memory(look: Look, size: int) -> int:
    """Return about how much memory a build takes: what it took until now, and its copies."""
    recipe = look.recipe
    copies = 3 + (2 if recipe.makes_int8 else 0)
    if recipe.trainings or recipe.pruning:
        copies += 3  # gradients and AdamW's two moments
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return peak + copies * size


def _published(look: Look, wanted: tuple[str, ...]) -> Iterator[str]:
    for precision in wanted:
        if precision in look.present:
            yield f"{precision}: version {look.present[precision]} is there already"
        else:
            yield f"{precision}: a new version, if the gate passes it"
    for speedup, there in look.pruned.items():
        fate = "versions are there already" if there else "new versions, if the gate passes them"
        yield f"FP32 and INT8 at {speedup:g}x: {fate}"
