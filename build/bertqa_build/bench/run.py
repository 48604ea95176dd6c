"""Running a plan: one process for each variant, all alive, taking turns on every shape."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.artifact import cpu_flags
from bertqa.errors import InvalidOptionError
from bertqa.evaluation import Samples, take_turns
from bertqa_build.bench.models import prepare
from bertqa_build.bench.plan import (
    BATCHES,
    LENGTHS,
    BenchFiles,
    EngineName,
    Plan,
    Precision,
    Shape,
    Variant,
    variants,
)
from bertqa_build.bench.process import Worker, available_memory, worker
from bertqa_build.errors import BuildError
from bertqa_build.kept import read_kept, write_kept
from bertqa_build.machine import machine

# How many times its FP32 weights a model takes in memory, measured with BERT-large: ONNX Runtime's
# OpenVINO provider alone holds them four times.
ALL_AT_ONCE = 18
ONE_ENGINE = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """How fast a variant is on a shape; `seconds` holds those of one call, for each repeat."""

    variant: Variant
    shape: Shape
    seconds: tuple[float, ...]

    @property
    def samples(self) -> Samples:
        """The seconds, to be summed up."""
        return Samples(self.seconds)

    @property
    def windows_per_second(self) -> float:
        """How many windows of text go through in a second."""
        return self.shape.batch / self.samples.median


@dataclass(frozen=True, slots=True)
class Measurement:
    """The results of a plan; `proofs` holds what each variant ran where, in which precision."""

    plan: Plan
    model: str
    machine: str
    cells: tuple[Cell, ...]
    proofs: dict[str, Any]

    def cell(self, variant: Variant, shape: Shape) -> Cell:
        """Return what was measured of a variant on a shape.

        Args:
            variant: An engine and a precision of the plan.
            shape: A batch and a length of the plan.
        """
        return next(each for each in self.cells if (each.variant, each.shape) == (variant, shape))

    def ratio(self, cell: Cell) -> float:
        """Return how many times as fast as FP32 of the same engine on the same shape a cell is."""
        fp32 = self.cell(Variant(cell.variant.engine, Precision.FP32), cell.shape)
        return fp32.samples.median / cell.samples.median

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON."""
        return {
            "model": self.model,
            "machine": self.machine,
            "threads": self.plan.threads,
            "repeats": self.plan.repeats,
            "cells": [
                {
                    "engine": cell.variant.engine,
                    "precision": cell.variant.precision,
                    "tokens": cell.shape.tokens,
                    "batch": cell.shape.batch,
                    "windows_per_second": cell.windows_per_second,
                    "median_seconds": cell.samples.median,
                    "samples_seconds": list(cell.seconds),
                    "spread": cell.samples.spread,
                    "ratio_to_fp32": self.ratio(cell),
                }
                for cell in self.cells
            ],
            "proofs": self.proofs,
        }


def plan_for_this_machine(
    model: str,
    *,
    lengths: tuple[int, ...] = LENGTHS,
    batches: tuple[int, ...] = BATCHES,
    repeats: int = 5,
    threads: int | None = None,
    engines: Sequence[str] = (),
) -> Plan:
    """Plan every variant that this CPU has.

    Args:
        model: As for `bertqa_build.bench.models.prepare`.
        lengths: Lengths of windows, in tokens.
        batches: Numbers of windows in a request.
        repeats: How often each cell is measured.
        threads: The cores for each engine; None takes all.
        engines: The slugs of the engines to measure; none takes all.

    Returns:
        The plan, with the number of cores that each engine takes.

    Raises:
        InvalidOptionError: There is no such engine, or there are not so many cores.
    """
    known = {engine.slug: engine for engine in EngineName}
    unknown = [slug for slug in engines if slug not in known]
    if unknown:
        raise InvalidOptionError(
            f"There is no engine {unknown[0]!r}: choose one of {', '.join(known)}."
        )
    chosen = [engine for slug, engine in known.items() if slug in engines or not engines]
    return Plan(
        model=model,
        lengths=tuple(sorted(set(lengths))),
        batches=tuple(sorted(set(batches))),
        repeats=repeats,
        threads=len(cores_for(threads)),
        variants=variants(chosen, has_bf16=bool({"avx512_bf16", "amx_bf16"} & cpu_flags())),
    )


def cores_for(threads: int | None) -> tuple[int, ...]:
    """Return the numbers of the cores that everything which is measured runs on.

    Args:
        threads: How many; None takes all.

    Raises:
        InvalidOptionError: There are not so many.
    """
    cores = sorted(os.sched_getaffinity(0))
    if threads is not None and threads > len(cores):
        raise InvalidOptionError(
            f"{threads} threads are more than this machine has: there are only {len(cores)} cores."
        )
    return tuple(cores[:threads])


def measure(
    plan: Plan, work_dir: Path, on_progress: OnProgress = ignore, *, again: bool = False
) -> Measurement:
    """Run a plan.

    On each shape the variants take turns, so that whatever slows the machine down for a while slows
    all of them. Where the memory does not hold all at once, those of each engine take turns among
    themselves.

    Args:
        plan: What is measured.
        work_dir: Models and results are kept in its folder `bench`. What the same plan measured on
            the same machine before is not measured again.
        on_progress: Called with each step.
        again: Whether to measure again what was measured before.

    Returns:
        The seconds of every variant on every shape.

    Raises:
        BuildError: The memory does not hold one engine, or an engine failed; `detail` is the last
            line that it wrote.
    """
    files, description = prepare(plan.model, work_dir, on_progress, max_seq_len=max(plan.lengths))
    record = files.root.with_name(f"{files.root.name}.json")
    key = {"plan": plan.to_dict(), "machine": machine()}
    kept = {"seconds": {}, "proofs": {}} | ({} if again else read_kept(record, key))
    for group in groups(plan, files):
        missing = [
            shape
            for shape in plan.shapes
            if any(str(variant) not in kept["seconds"].get(str(shape), {}) for variant in group)
        ]
        if not missing:
            continue
        with _workers(plan, group, files, on_progress) as (workers, proofs):
            kept["proofs"] |= proofs
            for shape in missing:
                seconds = kept["seconds"].setdefault(str(shape), {})
                seconds |= _take_turns(plan, workers, shape, on_progress)
                write_kept(record, key, kept)
    cells = tuple(
        Cell(variant, shape, tuple(kept["seconds"][str(shape)][str(variant)]))
        for shape in plan.shapes
        for variant in plan.variants
    )
    return Measurement(plan, description, machine(), cells, kept["proofs"])


def groups(plan: Plan, files: BenchFiles) -> list[tuple[Variant, ...]]:
    """Return the variants that are alive at once: all, or one engine's where memory is short.

    Args:
        plan: What is to be measured.
        files: The models that it needs.

    Raises:
        BuildError: The memory does not hold one engine.
    """
    available = available_memory()
    weights = files.onnx(Precision.FP32).stat().st_size
    if available > ALL_AT_ONCE * weights:
        return [plan.variants]
    if available < ONE_ENGINE * weights:
        raise BuildError(
            f"Memory has room for {available / 1e9:.1f} GB, and an engine with {plan.model} takes "
            f"up to {ONE_ENGINE * weights / 1e9:.1f} GB. End something else, or choose a smaller "
            "model."
        )
    engines = dict.fromkeys(variant.engine for variant in plan.variants)
    return [
        tuple(variant for variant in plan.variants if variant.engine is engine)
        for engine in engines
    ]


@contextmanager
def _workers(
    plan: Plan, group: tuple[Variant, ...], files: BenchFiles, on_progress: OnProgress
) -> Iterator[tuple[dict[Variant, Worker], dict[str, Any]]]:
    cores = cores_for(plan.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": str(plan.threads)}
    with ExitStack() as stack:
        workers: dict[Variant, Worker] = {}
        proofs: dict[str, Any] = {}
        for done, variant in enumerate(group):
            on_progress(Progress("Starting the engines", done, len(group), "engines", str(variant)))
            started = workers[variant] = stack.enter_context(
                worker("bertqa_build.bench.worker", str(variant), environment)
            )
            request = {
                "engine": variant.engine,
                "precision": variant.precision,
                "files": str(files.root),
                "cores": cores,
            }
            proofs[str(variant)] = started.ask(request)["proof"]
        yield workers, proofs


def _take_turns(
    plan: Plan, workers: dict[Variant, Worker], shape: Shape, on_progress: OnProgress
) -> dict[str, list[float]]:
    request = {"tokens": shape.tokens, "batch": shape.batch}
    total, done = plan.repeats * len(workers), itertools.count()

    def ask(variant: Variant) -> float:
        stage = f"Measuring {shape}"
        on_progress(Progress(stage, next(done), total, "measurements", str(variant)))
        return float(workers[variant].ask(request)["seconds"])

    return take_turns({str(variant): partial(ask, variant) for variant in workers}, plan.repeats)
