"""Running a model in this process, behind the client's own contract.

Each engine is a `bertqa.transport.base.Transport`, so that an artefact is evaluated by the very
code that asks a server. What is not quantised they compute in FP32, whatever the CPU prefers.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import torch
from torch import nn

from bertqa.errors import NotAQAModelError
from bertqa.model_info import ModelInfo
from bertqa.repository import MODEL_NAME
from bertqa.transport.base import (
    ATTENTION_MASK,
    END_LOGITS,
    INPUT_IDS,
    START_LOGITS,
    TOKEN_TYPE_IDS,
    InferResult,
    Inputs,
    ModelMetadata,
    Outputs,
)
from bertqa_build.errors import BuildError

MODEL_INFO = "model_info"
INPUTS = (INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS)
OUTPUTS = (START_LOGITS, END_LOGITS)
INTEGER = frozenset({"i8", "u8"})
CPU_PROVIDER = "CPUExecutionProvider"
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"


class Engine(ABC):
    """A model in this process. One request at a time: every engine uses all cores for one."""

    def __init__(self, info: ModelInfo, version: int = 1) -> None:
        self.info = info
        self.version = version
        self._lock = threading.Lock()

    @abstractmethod
    def run(self, inputs: Inputs) -> Outputs:
        """Give the logits, FP32 `[batch, tokens]`, for INT64 inputs of that shape."""

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        """Run the model; `version` and `timeout` have no meaning within a process."""
        with self._lock:
            return InferResult(self.run(inputs), self.version)

    def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
        """Describe the model as a server would."""
        return ModelMetadata(
            name=MODEL_NAME,
            versions=(self.version,),
            inputs=dict.fromkeys(INPUTS, "INT64"),
            outputs=dict.fromkeys(OUTPUTS, "FP32"),
            rt_info=self.info.to_rt_info(),
        )

    def close(self) -> None:  # noqa: B027
        """Nothing to give back."""


class OpenVINOEngine(Engine):
    """OpenVINO on the CPU."""

    def __init__(
        self,
        model: ov.Model | Path,
        info: ModelInfo | None = None,
        *,
        version: int = 1,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        """Compile `model`; without `info` it is read from the model's `rt_info`.

        Raises NotAQAModelError where the model says nothing of itself, BuildError where OpenVINO
        cannot read it.
        """
        core = ov.Core()
        try:
            read = model if isinstance(model, ov.Model) else core.read_model(model)
            self.compiled = core.compile_model(
                read, "CPU", {"INFERENCE_PRECISION_HINT": "f32", **(properties or {})}
            )
        except RuntimeError as error:
            raise BuildError(f"OpenVINO cannot load {model}.", detail=str(error)) from error
        super().__init__(info or read_ir_info(read), version)
        self._request = self.compiled.create_infer_request()

    def run(self, inputs: Inputs) -> Outputs:
        """Give the logits."""
        results = self._request.infer(dict(inputs))
        return {name: results[name].copy() for name in OUTPUTS}


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime with one provider, which is made sure of: it falls back in silence.

    `placement` is the number of the graph's nodes by provider.
    """

    def __init__(
        self,
        model: onnx.ModelProto | Path,
        info: ModelInfo | None = None,
        *,
        version: int = 1,
        provider: str = CPU_PROVIDER,
        threads: int = 0,
        execution: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a session; `threads` 0 leaves the number to the engine.

        `execution` are OpenVINO properties for its provider. Raises BuildError where the provider
        is not there or the model cannot be loaded, NotAQAModelError as `OpenVINOEngine` does.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings: dict[str, str] = {}
        if provider == OPENVINO_PROVIDER:
            properties = {"INFERENCE_PRECISION_HINT": "f32", **(execution or {})}
            settings = {"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
        try:
            self.session = onnxruntime.InferenceSession(
                source, options, providers=[provider], provider_options=[settings]
            )
        except Exception as error:
            what = "the model" if isinstance(source, bytes) else source
            raise BuildError(f"ONNX Runtime cannot load {what}.", detail=str(error)) from error
        self.placement = _placement(self.session)
        if set(self.placement) != {provider}:
            raise BuildError(
                f"ONNX Runtime should run the model with {provider} alone. The number of its nodes "
                f"by provider is {self.placement}."
            )
        if info is None:
            properties_of_model = self.session.get_modelmeta().custom_metadata_map
            info = ModelInfo.from_rt_info(properties_of_model)
        super().__init__(info, version)

    def run(self, inputs: Inputs) -> Outputs:
        """Give the logits."""
        results = self.session.run(OUTPUTS, dict(inputs))
        return dict(zip(OUTPUTS, results, strict=True))


def _placement(session: onnxruntime.InferenceSession) -> dict[str, int]:
    """Give the number of the graph's nodes that each provider got."""
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)


class TorchEngine(Engine):
    """A torch module with the inputs and outputs of `SpanModel`, without gradients."""

    def __init__(self, module: nn.Module, info: ModelInfo, *, version: int = 1) -> None:
        super().__init__(info, version)
        self.module = module.eval()

    def run(self, inputs: Inputs) -> Outputs:
        """Give the logits."""
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        with torch.inference_mode():
            logits = self.module(**tensors)
        return {
            name: np.asarray(tensor.float().numpy())
            for name, tensor in zip(OUTPUTS, logits, strict=True)
        }


def read_ir_info(model: ov.Model) -> ModelInfo:
    """Read what an IR says of itself. Raises NotAQAModelError where that is nothing."""
    if not model.has_rt_info([MODEL_INFO]):
        raise NotAQAModelError(
            "The IR has no model_info in its rt_info: it was not published by `bert-qa build`."
        )
    section = model.get_rt_info([MODEL_INFO]).value
    return ModelInfo.from_rt_info({key: str(value) for key, value in section.items()})


@dataclass(frozen=True, slots=True)
class Executed:
    """An operation as OpenVINO executes it: its kind, the precision that it computes in, and the
    names of the graph's operations that it stands for.
    """

    kind: str
    precision: str
    names: tuple[str, ...]


def executed_operations(compiled: ov.CompiledModel) -> list[Executed]:
    """Read back what is executed.

    What a runtime graph calls an operation's precision is that of its inputs, stored INT8 weights
    among them; in which one it computes is told by the kernel that was chosen for it.
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
        operations.append(Executed(kind, precision, tuple(names.split(","))))
    return operations
