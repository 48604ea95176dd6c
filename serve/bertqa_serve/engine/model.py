"""One version of a model in OpenVINO: loading, describing and running it."""

from __future__ import annotations

import functools
import math
import queue
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from grpc import StatusCode
from numpy.typing import NDArray

from bertqa.errors import ModelLoadError
from bertqa.runtime.openvino import core
from bertqa_serve.engine.config import ModelConfig
from bertqa_serve.engine.request_error import RequestError

Arrays = Mapping[str, NDArray[Any]]

# KServe's datatypes: the OpenVINO element type and NumPy's name of each.
DATATYPES = {
    "BOOL": ("boolean", "bool"),
    "UINT8": ("u8", "uint8"),
    "UINT16": ("u16", "uint16"),
    "UINT32": ("u32", "uint32"),
    "UINT64": ("u64", "uint64"),
    "INT8": ("i8", "int8"),
    "INT16": ("i16", "int16"),
    "INT32": ("i32", "int32"),
    "INT64": ("i64", "int64"),
    "FP16": ("f16", "float16"),
    "FP32": ("f32", "float32"),
    "FP64": ("f64", "float64"),
}
_KSERVE_NAMES = {element: name for name, (element, _) in DATATYPES.items()}
_OUTPUT_LIMIT = 2**26  # Values: inputs that broadcast could ask for any number.
_MODEL_FILES = ("*.xml", "*.onnx")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output: its KServe datatype, and its shape with -1 for a dynamic dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of its elements."""
        return np.dtype(DATATYPES[self.datatype][1])

    @property
    def precision(self) -> str:
        """The OpenVINO name of its element type, in capitals as OVMS's texts have it."""
        return DATATYPES[self.datatype][0].upper()

    @classmethod
    def of(cls, port: Any) -> TensorSpec:
        """Return the description of an OpenVINO input or output.

        Raises:
            ModelLoadError: KServe lacks the type of its elements.
        """
        element = port.get_element_type().get_type_name()
        if element not in _KSERVE_NAMES:
            raise ModelLoadError(f"{port.get_any_name()} has the element type {element}.")
        dimensions = port.get_partial_shape()
        shape = tuple(d.get_length() if d.is_static else -1 for d in dimensions)
        return cls(port.get_any_name(), _KSERVE_NAMES[element], shape)


@dataclass(frozen=True, slots=True)
class Inference:
    """The outputs of one run by name, and how long it waited and ran, in seconds."""

    outputs: Arrays
    waited: float
    took: float


class LoadedModel:
    """A compiled model with its infer requests.

    OpenVINO's asynchronous requests call back only on success, so a thread waits for each of them,
    in OpenVINO and without Python's lock. As in OVMS, an inference waits while all `nireq` requests
    are taken, and a request is taken until its inference has ended.

    Args:
        directory: The version's directory.
        config: How to load it.

    Attributes:
        inputs: The inputs in alphabetical order, as OVMS lists them.
        outputs: The outputs, likewise.
        rt_info: `rt_info["model_info"]` of the model.
        nireq: The number of infer requests that OVMS would have.
        streams: The number of OpenVINO's execution streams.

    Raises:
        ModelLoadError: The directory has no model, or OpenVINO cannot load it.
        FileNotFoundError: There is no such directory.
    """

    def __init__(self, directory: Path, config: ModelConfig) -> None:
        self.config = config
        path = model_file(directory)
        properties = {key: _property(value) for key, value in config.plugin_config.items()}
        try:
            self._model = core().read_model(path)
            _reshape(self._model, config)
            self._compiled = core().compile_model(
                self._model, config.target_device or "CPU", properties
            )
            self.streams = int(self._compiled.get_property("NUM_STREAMS"))
            optimal = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ModelLoadError(f"OpenVINO cannot load {path}.", detail=str(error)) from error
        self.nireq = config.nireq or optimal
        self.inputs = _specs(self._compiled.inputs)
        self.outputs = _specs(self._compiled.outputs)
        self.rt_info = _model_info(self._model)
        self._output_indices = {
            port.get_any_name(): index for index, port in enumerate(self._compiled.outputs)
        }
        self._fits = functools.lru_cache(maxsize=1024)(self._find_out_whether_it_fits)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.nireq):
            self._idle.put(self._compiled.create_infer_request())
        self._pool = ThreadPoolExecutor(self.nireq, thread_name_prefix="infer")

    def submit(self, arrays: Arrays, running: AbstractContextManager[None]) -> Future[Inference]:
        """Run the model in one of its threads.

        Args:
            arrays: One array for each input, by name.
            running: Is entered, in another thread, while the inference holds an infer request.

        Returns:
            The outputs and their times; its `result()` may raise RequestError.
        """
        return self._pool.submit(self._run, arrays, running, time.perf_counter())

    def close(self) -> None:
        """Wait for running inferences and end the threads."""
        self._pool.shutdown(wait=True)

    def _run(
        self, arrays: Arrays, running: AbstractContextManager[None], submitted: float
    ) -> Inference:
        with running:
            return self._infer(arrays, submitted)

    def _infer(self, arrays: Arrays, submitted: float) -> Inference:
        started = time.perf_counter()
        self._refuse_what_cannot_run(arrays)
        request = self._idle.get()
        try:
            request.start_async(arrays, share_inputs=True)
            request.wait()
            outputs = {
                name: request.get_output_tensor(index).data.copy()
                for name, index in self._output_indices.items()
            }
        except RuntimeError as error:
            request = self._compiled.create_infer_request()  # The old one keeps its error.
            raise RequestError(StatusCode.INTERNAL, "Internal inference error") from error
        finally:
            self._idle.put(request)
        return Inference(outputs, started - submitted, time.perf_counter() - started)

    def _refuse_what_cannot_run(self, arrays: Arrays) -> None:
        """Find inputs that do not fit each other before OpenVINO does.

        A failed inference leaves OpenVINO's graph with half of the new shapes, and the next good
        request of the old shape fails too.
        """
        shapes = {name: array.shape for name, array in arrays.items()}
        if len(set(shapes.values())) > 1 and not self._fits(tuple(sorted(shapes.items()))):
            raise RequestError(StatusCode.INTERNAL, "Internal inference error")

    def _find_out_whether_it_fits(self, shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> bool:
        model = self._model.clone()
        try:
            model.reshape({name: list(shape) for name, shape in shapes})
        except RuntimeError:
            return False
        sizes = (output.get_partial_shape() for output in model.outputs)
        return all(s.is_dynamic or math.prod(s.to_shape()) <= _OUTPUT_LIMIT for s in sizes)


def model_file(directory: Path) -> Path:
    """Return the model file of a version directory; an IR wins over an ONNX file, as in OVMS.

    Raises:
        ModelLoadError: The directory has no model.
        FileNotFoundError: There is no such directory.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"There is no directory {directory}.")
    for pattern in _MODEL_FILES:
        for path in sorted(directory.glob(pattern)):
            return path
    raise ModelLoadError(f"{directory} has no model in it (looked for {', '.join(_MODEL_FILES)}).")


def _specs(ports: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple(sorted(map(TensorSpec.of, ports), key=lambda spec: spec.name))


def _property(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return str(value)


def _reshape(model: Any, config: ModelConfig) -> None:
    """Apply `shape`, or else `batch_size`, as OVMS does; "auto" leaves all dimensions dynamic."""
    if config.shape is None and config.batch_size is None:
        return
    shapes: dict[str, Any] = {}
    for port in model.inputs:
        name, shape = port.get_any_name(), port.get_partial_shape()
        if config.shape is None:
            shape[0] = ov.Dimension(-1 if config.batch_size == "auto" else config.batch_size)
        else:
            text = config.shape if isinstance(config.shape, str) else config.shape.get(name)
            if text == "auto":
                shape = ov.PartialShape([ov.Dimension(-1)] * len(shape))
            elif text is not None:
                sizes = text.strip("()[] ").replace(":", "..").split(",")
                shape = ov.PartialShape([ov.Dimension(size.strip()) for size in sizes])
        shapes[name] = shape
    model.reshape(shapes)


def _model_info(model: Any) -> dict[str, Any]:
    if not model.has_rt_info(["model_info"]):
        return {}
    info: dict[str, Any] = _plain(model.get_rt_info()["model_info"])
    return info


def _plain(value: Any) -> Any:
    value = getattr(value, "value", value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value)
