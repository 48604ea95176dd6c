"""What the server does, whichever protocol asks: both front ends only translate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from bertqa_serve.engine.manager import MODEL_NOT_FOUND, VERSION_NOT_LOADED, ModelManager, State
from bertqa_serve.engine.metrics import Metrics
from bertqa_serve.engine.model import Arrays, LoadedModel, TensorSpec
from bertqa_serve.engine.request_error import RequestError, invalid, not_found

SERVER_NAME = "OpenVINO Model Server"
LOADING_WAIT_SECONDS = 10.0
NOT_AN_ARRAY = "Could not parse input content. Not valid ndarray detected"
_INT64_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input as it was sent: its data are either `raw`, in C order, or single `values`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | memoryview | None = None
    values: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """The metadata of a model version; `versions` are those that are available."""

    name: str
    version: int
    versions: list[int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    rt_info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs of an inference in alphabetical order, and the version that answered."""

    version: int
    outputs: list[tuple[TensorSpec, NDArray[Any]]]


class Service:
    """The operations of KServe's protocol; `interface` is "REST" or "gRPC", for the metrics.

    Attributes:
        started: Whether the server looks after its models yet; REST answers a moment earlier.
    """

    def __init__(self, manager: ModelManager, metrics: Metrics) -> None:
        self.started = False
        self.manager = manager
        self.metrics = metrics

    def model_ready(self, interface: str, name: str, number: int | None) -> bool:
        """Return whether a version answers requests; without a number, whether any does.

        Args:
            interface: "REST" or "gRPC".
            name: The model's name.
            number: The version, or None.

        Raises:
            RequestError: There is no such model or version.
        """
        model = self.manager.model(name)
        with self.metrics.request(interface, "ModelReady", name, None):
            return model.version(number).state is State.AVAILABLE

    def describe(self, interface: str, name: str, number: int | None) -> Description:
        """Return the metadata of a version; without a number, of the default one.

        Args:
            interface: "REST" or "gRPC".
            name: The model's name.
            number: The version, or None.

        Raises:
            RequestError: There is no such model or version, or it is loading or retired.
        """
        model = self.manager.model(name)
        version = model.version(number)
        loaded = version.in_memory()
        with self.metrics.request(interface, "ModelMetadata", name, version.number):
            available = [version.number for version in model.available()]
            return Description(
                name, version.number, available, loaded.inputs, loaded.outputs, loaded.rt_info
            )

    async def infer(
        self,
        interface: str,
        name: str,
        number: int | None,
        read: Callable[[], Sequence[Tensor]],
    ) -> Answer:
        """Run a version.

        Args:
            interface: "REST" or "gRPC".
            name: The model's name.
            number: The version; None or 0 is the default one.
            read: Returns the inputs, and may raise RequestError.

        Returns:
            The outputs, and the version that made them.

        Raises:
            RequestError: There is no such version, it cannot answer, or the inputs do not fit it.
        """
        if name not in self.manager.models:
            raise not_found(MODEL_NOT_FOUND.replace("Model", "Pipeline"))
        version = self.manager.model(name).version(number or None)
        if version.state is State.LOADING:
            await _settled(version.settled)
        loaded = version.in_memory()
        with self.metrics.request(interface, "ModelInfer", name, version.number):
            arrays = _arrays(loaded, read())
            running = self.metrics.inference(name, version.number)
            inference = await asyncio.wrap_future(loaded.submit(arrays, running))
            self.metrics.inferred(name, version.number, inference.waited, inference.took)
            outputs = [(spec, inference.outputs[spec.name]) for spec in loaded.outputs]
            return Answer(version.number, outputs)


async def _settled(event: asyncio.Event) -> None:
    """Wait while a version loads, as long as OVMS would."""
    try:
        await asyncio.wait_for(event.wait(), LOADING_WAIT_SECONDS)
    except TimeoutError as error:
        raise RequestError(StatusCode.UNAVAILABLE, VERSION_NOT_LOADED) from error


def _arrays(loaded: LoadedModel, tensors: Sequence[Tensor]) -> Arrays:
    """Check the inputs as OVMS does, in its order and its words, and return their arrays."""
    if len(tensors) != len(loaded.inputs):
        raise invalid(
            f"Invalid number of inputs - Expected: {len(loaded.inputs)}; Actual: {len(tensors)}"
        )
    by_name = {tensor.name: tensor for tensor in tensors}
    for spec in loaded.inputs:
        if spec.name not in by_name:
            raise invalid(f"Missing input with specific name - Required input: {spec.name}")
    return {spec.name: _array(spec, by_name[spec.name]) for spec in loaded.inputs}


def _array(spec: TensorSpec, tensor: Tensor) -> NDArray[Any]:
    where = f"input name: input name: {spec.name}"
    if tensor.datatype != spec.datatype:
        raise invalid(
            f"Invalid input precision - Expected: {spec.precision}; "
            f"Actual: {tensor.datatype}; {where}"
        )
    _check_shape(spec, tensor.shape, where)
    count = math.prod(tensor.shape)
    if count >= _INT64_LIMIT:
        raise invalid(f"Invalid content size of tensor proto - Shape dimensions overflow; {where}")
    if tensor.raw is None:
        unit, expected, actual = "values", count, len(tensor.values)
        what = "Invalid number of values in tensor proto container"
    else:
        unit, expected, actual = "bytes", count * spec.dtype.itemsize, len(tensor.raw)
        what = "Invalid content size of tensor proto"
    if actual != expected:
        raise invalid(f"{what} - Expected: {expected} {unit}; Actual: {actual} {unit}; {where}")
    try:
        if tensor.raw is None:
            return np.array(tensor.values, dtype=spec.dtype).reshape(tensor.shape)
        return np.frombuffer(tensor.raw, dtype=spec.dtype).reshape(tensor.shape)
    except (OverflowError, ValueError) as error:  # A value or a dimension is out of range.
        raise invalid(NOT_AN_ARRAY) from error


def _check_shape(spec: TensorSpec, shape: tuple[int, ...], where: str) -> None:
    expected, actual = _text(spec.shape), _text(shape)
    if len(shape) != len(spec.shape):
        problem = f"Invalid number of shape dimensions - Expected: {expected}; Actual: {actual}"
    elif any(size < 0 for size in shape):
        problem = (
            f"Invalid input shape - Negative or zero dimension size is not acceptable: {actual}"
        )
    elif shape and spec.shape[0] not in (-1, shape[0]):
        problem = f"Invalid input batch size - Expected: {spec.shape[0]}; Actual: {shape[0]}"
    elif any(size not in (-1, given) for size, given in zip(spec.shape, shape, strict=True)):
        problem = f"Invalid input shape - Expected: {expected}; Actual: {actual}"
    else:
        return
    raise invalid(f"{problem}; {where}")


def _text(shape: tuple[int, ...]) -> str:
    return f"({','.join(map(str, shape))})"
