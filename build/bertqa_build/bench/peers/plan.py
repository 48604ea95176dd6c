"""Which peers there are, and what is measured of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from bertqa.artifact import MODEL_NAME, Repository
from bertqa.evaluation import SquadDataset
from bertqa_build.bench.peers.versions import Versions
from bertqa_build.bench.plan import Precision
from bertqa_build.recipe import Recipe


class Kind(StrEnum):
    """A way to answer questions with a model."""

    PYTORCH = "pytorch"
    TORCH_COMPILE = "torch-compile"
    OPTIMUM_INTEL = "optimum-intel"
    ONNX_RUNTIME = "onnx-runtime"
    DEEPSPARSE = "deepsparse"
    IN_PROCESS = "in-process"
    LOCAL = "local"
    OVMS = "ovms"

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return _LABELS[self]

    @property
    def is_ours(self) -> bool:
        """Whether it is a part of this project."""
        return self in OURS


OURS = (Kind.IN_PROCESS, Kind.LOCAL, Kind.OVMS)
_LABELS = {
    Kind.PYTORCH: "PyTorch",
    Kind.TORCH_COMPILE: "PyTorch, compiled",
    Kind.OPTIMUM_INTEL: "Optimum Intel",
    Kind.ONNX_RUNTIME: "ONNX Runtime",
    Kind.DEEPSPARSE: "DeepSparse",
    Kind.IN_PROCESS: "ours, in process",
    Kind.LOCAL: "ours, local engine",
    Kind.OVMS: "ours, OVMS",
}
_QUANTISES_BY = {Kind.OPTIMUM_INTEL: "OVQuantizer", Kind.ONNX_RUNTIME: "quantize_dynamic"}
"""The tool of its own that a peer quantises with."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A kind at a precision.

    Attributes:
        kind: The kind.
        precision: What the matrix products are computed in.
        version: The published version that it runs, or that its model is.
        speedup: How many times as fast the version was to be by pruning; None where it was not.
        note: What is not as a reader expects, in a sentence.
        reason: Why this machine cannot run it.
        floating_point: What floating point of FP32 is computed in, such as `f32`.
    """

    kind: Kind
    precision: Precision
    version: int
    speedup: float | None = None
    note: str = ""
    reason: str = ""
    floating_point: str = "f32"

    @property
    def computes_in(self) -> str:
        """What it computes in; for INT8 also what floating point is computed in beside it."""
        if self.precision is Precision.FP32:
            return self.floating_point
        is_int8 = self.precision is Precision.INT8
        return f"{self.precision}, {self.floating_point}" if is_int8 else str(self.precision)

    @property
    def model(self) -> str:
        """The precision, and the speed-up that the model was pruned to."""
        pruned = "" if self.speedup is None else f" {self.speedup:g}x"
        return f"{self.precision}{pruned}"

    def __str__(self) -> str:
        return f"{self.kind.label} {self.model}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole measurement.

    Attributes:
        recipe: The recipe whose versions are measured.
        repository: Where they are published.
        dataset: The questions that are asked.
        cores: The cores that every peer runs on.
        rounds: How often each is measured.
        kinds: What is measured.
        model: The name of the model.
    """

    recipe: Recipe
    repository: Repository
    dataset: SquadDataset
    cores: tuple[int, ...]
    rounds: int = 4
    kinds: tuple[Kind, ...] = tuple(Kind)
    model: str = MODEL_NAME


def peers_of(
    versions: Versions,
    kinds: tuple[Kind, ...],
    *,
    has_bf16: bool,
    can_compile: bool,
    by_default: Mapping[Kind, str] | None = None,
) -> tuple[Peer, ...]:
    """Return every peer, foreign ones first.

    Args:
        versions: The versions that a recipe made.
        kinds: Which kinds are asked for.
        has_bf16: Whether the CPU computes in bf16.
        can_compile: Whether there is the C++ compiler that `torch.compile` needs.
        by_default: What a kind computes floating point in, where that is not f32.

    Returns:
        The peers, in the order of their turns.
    """
    whole = {Precision.FP32: versions.fp32, Precision.INT8: versions.int8}
    present = {precision: number for precision, number in whole.items() if number is not None}
    found: list[Peer] = []
    for kind in kinds:
        if kind is Kind.PYTORCH:
            found.append(Peer(kind, Precision.FP32, versions.fp32))
        elif kind is Kind.TORCH_COMPILE:
            found.append(_compiled(versions.fp32, has_bf16, can_compile))
        elif kind in _QUANTISES_BY:
            quantised = f"INT8 by its own {_QUANTISES_BY[kind]} of the FP32 model."
            found.append(Peer(kind, Precision.FP32, versions.fp32))
            found.append(Peer(kind, Precision.INT8, versions.fp32, note=quantised))
        else:
            found += [Peer(kind, each, number) for each, number in present.items()]
        if kind.is_ours:
            found += [
                Peer(kind, Precision(each.precision), each.version, each.speedup)
                for each in versions.pruned
            ]
    return tuple(
        replace(each, floating_point=(by_default or {}).get(each.kind, each.floating_point))
        for each in found
    )


def _compiled(version: int, has_bf16: bool, can_compile: bool) -> Peer:
    """Return the peer of `torch.compile` in bf16, or what of it this machine has."""
    no_bf16, no_compiler = "This CPU does not compute in bf16", "There is no C++ compiler"
    if has_bf16 and can_compile:
        return Peer(Kind.TORCH_COMPILE, Precision.BF16, version)
    if can_compile:
        note = f"{no_bf16}: torch.compile runs in FP32."
        return Peer(Kind.TORCH_COMPILE, Precision.FP32, version, note=note)
    if has_bf16:
        note = f"{no_compiler}: it runs without torch.compile."
        return Peer(Kind.PYTORCH, Precision.BF16, version, note=note)
    reason = f"{no_compiler} for torch.compile. {no_bf16}"
    return Peer(Kind.TORCH_COMPILE, Precision.BF16, version, reason=reason)
