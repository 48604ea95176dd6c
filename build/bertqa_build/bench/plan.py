"""What is measured: which engines, at which precisions, on which shapes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from bertqa.artifact import IR_FILE, ONNX_FILE


class EngineName(StrEnum):
    """What runs the model."""

    PYTORCH = "PyTorch"
    ONNX_RUNTIME = "ONNX Runtime CPU"
    ONNX_RUNTIME_OPENVINO = "ONNX Runtime + OpenVINO EP"
    OPENVINO = "OpenVINO"

    @property
    def slug(self) -> str:
        """What to type for it, such as `onnx-runtime-openvino`."""
        return self.name.lower().replace("_", "-")


class Precision(StrEnum):
    """What the matrix products are computed in."""

    FP32 = "FP32"
    BF16 = "bf16"
    INT8 = "INT8"


PRECISIONS: dict[EngineName, tuple[Precision, ...]] = {
    EngineName.PYTORCH: (Precision.FP32, Precision.BF16),
    EngineName.ONNX_RUNTIME: (Precision.FP32, Precision.INT8),
    EngineName.ONNX_RUNTIME_OPENVINO: tuple(Precision),
    EngineName.OPENVINO: tuple(Precision),
}
"""PyTorch only emulates INT8, and ONNX Runtime's CPU provider has no bf16."""

LENGTHS = (128, 384)
BATCHES = (1, 8)


@dataclass(frozen=True, slots=True)
class Variant:
    """An engine at a precision; each is measured in a process of its own."""

    engine: EngineName
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of the inputs: `[batch, tokens]`."""

    tokens: int
    batch: int

    def __str__(self) -> str:
        return f"{self.tokens} tokens, batch {self.batch}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole measurement: every variant on every shape, `repeats` times, on `threads` cores."""

    model: str
    lengths: tuple[int, ...] = LENGTHS
    batches: tuple[int, ...] = BATCHES
    repeats: int = 5
    threads: int = 1
    variants: tuple[Variant, ...] = ()

    @property
    def shapes(self) -> list[Shape]:
        """Every shape, small ones first."""
        return [Shape(*pair) for pair in itertools.product(self.lengths, self.batches)]

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BenchFiles:
    """A model on disk: `config.json`, and IR and ONNX in FP32 and INT8; bf16 runs from FP32."""

    root: Path

    def ir(self, precision: Precision) -> Path:
        """Return the path of the IR in a precision."""
        return self._folder(precision) / IR_FILE

    def onnx(self, precision: Precision) -> Path:
        """Return the path of the ONNX in a precision."""
        return self._folder(precision) / ONNX_FILE

    def _folder(self, precision: Precision) -> Path:
        return self.root / ("int8" if precision is Precision.INT8 else "fp32")


def variants(
    engines: Sequence[EngineName] = tuple(EngineName), *, has_bf16: bool
) -> tuple[Variant, ...]:
    """Return every combination that exists; bf16 only where the CPU computes in it.

    Args:
        engines: The engines to measure.
        has_bf16: Whether the CPU computes in bf16.
    """
    return tuple(
        Variant(engine, precision)
        for engine in engines
        for precision in PRECISIONS[engine]
        if has_bf16 or precision is not Precision.BF16
    )
