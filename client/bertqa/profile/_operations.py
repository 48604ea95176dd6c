"""How long the operations of a compiled graph take, by OpenVINO's performance counters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from bertqa._progress import OnProgress, Progress, ignore
from bertqa.errors import ModelLoadError
from bertqa.runtime.openvino import PRECISION_HINT, core, executed_operations
from bertqa.transport import Inputs

_COUNT = {"PERF_COUNT": "YES"}

_Key = tuple[str, str, str]
"""The kind of an operation, its kernel and its precision."""


@dataclass(frozen=True, slots=True)
class OperationTime:
    """What the operations of one kind took that ran in one kernel.

    Attributes:
        kind: What they are, such as `FullyConnected`.
        kernel: What OpenVINO calls the kernel, such as `brgemm_avx512_amx_i8`.
        precision: What they compute in, such as `i8` or `bf16`.
        runs: How often one ran.
        real_ms: How long all of that took, in milliseconds.
        cpu_ms: How much of it the processor computed.
    """

    kind: str
    kernel: str
    precision: str
    runs: int
    real_ms: float
    cpu_ms: float


BETWEEN = "between operations"


@dataclass(frozen=True, slots=True)
class Operations:
    """What the operations of a graph took over some batches.

    Attributes:
        precision: What the graph computes in where it is not quantised, such as `bf16`.
        requests: The batches.
        infer_ms: How long the batches took one after the other, in milliseconds.
        times: The operations, those that took longest first.
    """

    precision: str
    requests: int
    infer_ms: float
    times: tuple[OperationTime, ...]

    @property
    def between_ms(self) -> float:
        """What OpenVINO took between operations, which the counter of none has."""
        return max(self.infer_ms - sum(each.real_ms for each in self.times), 0.0)

    @property
    def whole_ms(self) -> float:
        """What all operations took, and what was between them."""
        return sum(each.real_ms for each in self.times) + self.between_ms

    @classmethod
    def measured(
        cls,
        model: Path,
        batches: Sequence[Inputs],
        properties: Mapping[str, Any],
        on_progress: OnProgress = ignore,
    ) -> Operations:
        """Run batches in this process, one after the other, and count in the second of two passes.

        Args:
            model: The file of the model.
            batches: The batches, as a client sent them.
            properties: OpenVINO's properties that the server has.
            on_progress: Called with each batch.

        Returns:
            The times.

        Raises:
            ModelLoadError: OpenVINO cannot read or compile the model.
        """
        compiled = compiled_as_served(model, {**_one_stream(properties), **_COUNT})
        request = compiled.create_infer_request()
        precisions = {each.name: each.precision for each in executed_operations(compiled)}
        runs: Counter[_Key] = Counter()
        real: Counter[_Key] = Counter()
        cpu: Counter[_Key] = Counter()
        before: dict[str, tuple[float, float]] = {}
        seconds = 0.0
        for number, batch in enumerate([*batches, *batches], 1):
            is_counted = number > len(batches)
            begin = time.perf_counter()
            request.infer(dict(batch), share_inputs=True)
            if is_counted:
                seconds += time.perf_counter() - begin
            for each in request.get_profiling_info():
                if each.status != each.Status.EXECUTED:
                    continue
                # A counter is the mean of all runs so far. The kernel may be another each time.
                sums = (
                    number * each.real_time.total_seconds(),
                    number * each.cpu_time.total_seconds(),
                )
                earlier = before.get(each.node_name, (0.0, 0.0))
                before[each.node_name] = sums
                if is_counted:
                    key = each.node_type, each.exec_type, precisions.get(each.node_name, "")
                    runs[key] += 1
                    real[key] += sums[0] - earlier[0]
                    cpu[key] += sums[1] - earlier[1]
            on_progress(Progress("Counting operations", number, 2 * len(batches), "requests"))
        times = [
            OperationTime(*key, runs[key], 1000 * max(real[key], 0.0), 1000 * max(cpu[key], 0.0))
            for key in runs
        ]
        times.sort(key=lambda each: -each.real_ms)
        hint = compiled.get_property(PRECISION_HINT)
        return cls(hint.to_string(), len(batches), 1000 * seconds, tuple(times))


def _one_stream(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties with one of the streams, and its threads: counters are of one stream."""
    streams, threads = properties.get("NUM_STREAMS"), properties.get("INFERENCE_NUM_THREADS")
    found = {**properties, "NUM_STREAMS": "1"}
    if streams and threads and str(streams).isdecimal():
        found["INFERENCE_NUM_THREADS"] = str(max(int(threads) // int(streams), 1))
    return found


def compiled_as_served(model: Path, properties: Mapping[str, Any]) -> ov.CompiledModel:
    """Compile a model as a server does: what is not quantised computes in OpenVINO's own choice.

    Args:
        model: The file of the model.
        properties: OpenVINO's properties, those of the server.

    Returns:
        The compiled model.

    Raises:
        ModelLoadError: OpenVINO cannot read or compile the model.
    """
    try:
        return core().compile_model(core().read_model(model), "CPU", dict(properties))
    except RuntimeError as error:
        raise ModelLoadError(f"OpenVINO cannot load {model}.", detail=str(error)) from error
