"""OpenVINO on the CPU as an engine, and what it executes."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov

from bertqa.artifact import OUTPUTS, ModelInfo, own_precision
from bertqa.errors import BertQAError, ModelLoadError, NotAQAModelError
from bertqa.runtime._engine import Engine
from bertqa.transport import Inputs, Outputs

MODEL_INFO = "model_info"
PRECISION_HINT = "INFERENCE_PRECISION_HINT"
THREADS = "INFERENCE_NUM_THREADS"
INTEGER = frozenset({"i8", "u8"})

_CORE_LOCK = threading.Lock()


def core() -> ov.Core:
    """Return the one `openvino.Core` of this process, ready to be used by several threads.

    A second one is never made. The CPU plugin of each sets a stack for signals in the thread that
    first compiles a model, and at its end restores the one before, which may be freed by then. The
    next signal, such as Ctrl-C, then ends the process with a segmentation fault.

    OpenVINO's Python bindings fill tables at their first use, with Python's lock held; two threads
    that are both first wait for each other for ever. So the first inference of all is run here,
    while every other thread that needs the core waits for a lock.
    """
    with _CORE_LOCK:
        return _make_core()


@functools.cache
def _make_core() -> ov.Core:
    core = ov.Core()
    nothing = ov.op.Parameter(ov.Type.i64, ov.PartialShape([-1]))
    compiled = core.compile_model(ov.Model([nothing.output(0)], [nothing]), "CPU")
    request = compiled.create_infer_request()
    request.start_async({0: np.zeros(1, dtype=np.int64)}, share_inputs=True)
    request.wait()
    request.get_output_tensor(0).data.copy()
    return core


def native_precision() -> dict[str, str]:
    """Return the property with which OpenVINO computes as a server of this machine does.

    That is in bf16 where the CPU has it and is not slower in it. What is quantised computes in
    INT8 all the same.
    """
    chosen = core().get_property("CPU", PRECISION_HINT).get_type_name()
    return {PRECISION_HINT: own_precision() or chosen}


class OpenVINOEngine(Engine):
    """OpenVINO on the CPU; it runs as many requests at once as it has streams, one by default."""

    def __init__(
        self,
        model: ov.Model | Path,
        info: ModelInfo | None = None,
        *,
        version: int = 1,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Compile a model.

        Args:
            model: An IR's `.xml` file, or a model in memory.
            info: The model's description of itself; by default it is read from its `rt_info`.
            version: The version's number, which every result names.
            properties: OpenVINO's properties, on top of FP32 for what is not quantised.

        Raises:
            ModelLoadError: OpenVINO cannot read or compile the model.
            NotAQAModelError: The model has no `model_info`.
        """
        try:
            read = model if isinstance(model, ov.Model) else core().read_model(model)
            self.compiled = core().compile_model(
                read, "CPU", {PRECISION_HINT: "f32", **(properties or {})}
            )
        except RuntimeError as error:
            raise ModelLoadError(f"OpenVINO cannot load {model}.", detail=str(error)) from error
        inputs = [port.get_any_name() for port in self.compiled.inputs]
        streams = int(self.compiled.get_property("NUM_STREAMS"))
        super().__init__(info or read_ir_info(read), version, inputs, at_once=streams)
        self._idle: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(streams):
            self._idle.put(self.compiled.create_infer_request())

    def run(self, inputs: Inputs) -> Outputs:
        """See `Engine.run`."""
        request = self._idle.get()
        try:
            results = request.infer(dict(inputs))
            return {name: results[name].copy() for name in OUTPUTS}
        except RuntimeError as error:
            raise BertQAError(
                "OpenVINO cannot run the model on these inputs.", detail=str(error)
            ) from error
        finally:
            self._idle.put(request)


def read_ir_info(model: ov.Model) -> ModelInfo:
    """Return the section `model_info` of an IR's `rt_info`.

    Raises:
        NotAQAModelError: The IR does not have that section.
    """
    if not model.has_rt_info([MODEL_INFO]):
        raise NotAQAModelError(
            "The IR has no model_info in its rt_info: it was not published by `bert-qa build`."
        )
    section = model.get_rt_info([MODEL_INFO]).value
    return ModelInfo.from_rt_info({key: str(value) for key, value in section.items()})


@dataclass(frozen=True, slots=True)
class Executed:
    """An operation as OpenVINO executes it.

    Attributes:
        name: Its name in the compiled graph.
        kind: What it is, such as `FullyConnected`.
        precision: What it computes in, such as `f32` or `i8`.
        names: The names of the graph's operations that it stands for.
    """

    name: str
    kind: str
    precision: str
    names: tuple[str, ...]


def executed_operations(compiled: ov.CompiledModel) -> list[Executed]:
    """Return the operations that a compiled model executes.

    What a runtime graph calls an operation's precision is that of its inputs, stored INT8 weights
    among them. The precision that it computes in shows in the name of its kernel.
    """
    operations = []
    for operation in compiled.get_runtime_model().get_ops():
        info = operation.get_rt_info()
        kind, inputs, kernel, names = (
            info[key].astype(str)
            for key in ("layerType", "runtimePrecision", "primitiveType", "originalLayersNames")
        )
        computed = kernel.rpartition("_")[2].lower()
        precision = inputs if computed in INTEGER else computed
        name = operation.get_friendly_name()
        operations.append(Executed(name, kind, precision, tuple(names.split(","))))
    return operations
