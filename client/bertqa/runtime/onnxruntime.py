"""ONNX Runtime as an engine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from bertqa.artifact import OUTPUTS, ModelInfo
from bertqa.errors import BertQAError, ModelLoadError
from bertqa.runtime._engine import Engine
from bertqa.transport import Inputs, Outputs

CPU_PROVIDER = "CPUExecutionProvider"
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime with one execution provider.

    ONNX Runtime falls back to its CPU provider in silence, so it is checked that every node of the
    graph runs with the requested provider. `placement` is the number of the graph's
    nodes by provider.
    """

    def __init__(
        self,
        model: Path,
        info: ModelInfo | None = None,
        *,
        version: int = 1,
        provider: str = CPU_PROVIDER,
        threads: int = 0,
        execution: Mapping[str, Any] | None = None,
    ) -> None:
        """Open a session.

        Args:
            model: The `.onnx` file.
            info: The model's description of itself; by default it is read from its metadata.
            version: The version's number, which every result names.
            provider: The execution provider that has to run every node.
            threads: The number of threads; 0 leaves it to ONNX Runtime.
            execution: OpenVINO's properties, for its provider.

        Raises:
            ModelLoadError: The provider is not there or does not run every node, or the model
                cannot be loaded.
            NotAQAModelError: The model has no `model_info`.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings: dict[str, str] = {}
        if provider == OPENVINO_PROVIDER:
            properties = {"INFERENCE_PRECISION_HINT": "f32", **(execution or {})}
            settings = {"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}
        try:
            self.session = onnxruntime.InferenceSession(
                str(model), options, providers=[provider], provider_options=[settings]
            )
        except Exception as error:
            raise ModelLoadError(f"ONNX Runtime cannot load {model}.", detail=str(error)) from error
        self.placement = _placement(self.session)
        if set(self.placement) != {provider}:
            raise ModelLoadError(
                f"ONNX Runtime should run the model with {provider} alone. The number of its nodes "
                f"by provider is {self.placement}."
            )
        if info is None:
            properties_of_model = self.session.get_modelmeta().custom_metadata_map
            info = ModelInfo.from_rt_info(properties_of_model)
        super().__init__(info, version, [port.name for port in self.session.get_inputs()])

    def run(self, inputs: Inputs) -> Outputs:
        """See `Engine.run`."""
        try:
            results = self.session.run(OUTPUTS, dict(inputs))
        except Exception as error:
            raise BertQAError(
                "ONNX Runtime cannot run the model on these inputs.", detail=str(error)
            ) from error
        return dict(zip(OUTPUTS, results, strict=True))


def _placement(session: onnxruntime.InferenceSession) -> dict[str, int]:
    """Return the number of the graph's nodes that each provider got."""
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)
