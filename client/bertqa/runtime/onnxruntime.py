"""ONNX Runtime, with a provider that is made sure of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime

from bertqa.artifact import OUTPUTS, ModelInfo
from bertqa.errors import ModelLoadError
from bertqa.runtime._engine import Engine
from bertqa.transport import Inputs, Outputs

if TYPE_CHECKING:
    import onnx

CPU_PROVIDER = "CPUExecutionProvider"
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"


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

        `execution` are OpenVINO properties for its provider. Raises ModelLoadError where the
        provider is not there or the model cannot be loaded, NotAQAModelError as `OpenVINOEngine`
        does.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings: dict[str, str] = {}
        if provider == OPENVINO_PROVIDER:
            properties = {"INFERENCE_PRECISION_HINT": "f32", **(execution or {})}
            settings = {"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        try:
            self.session = onnxruntime.InferenceSession(
                source, options, providers=[provider], provider_options=[settings]
            )
        except Exception as error:
            what = "the model" if isinstance(source, bytes) else source
            raise ModelLoadError(f"ONNX Runtime cannot load {what}.", detail=str(error)) from error
        self.placement = _placement(self.session)
        if set(self.placement) != {provider}:
            raise ModelLoadError(
                f"ONNX Runtime should run the model with {provider} alone. The number of its nodes "
                f"by provider is {self.placement}."
            )
        if info is None:
            properties_of_model = self.session.get_modelmeta().custom_metadata_map
            info = ModelInfo.from_rt_info(properties_of_model)
        super().__init__(info, version)

    def run(self, inputs: Inputs) -> Outputs:
        """Return the logits."""
        results = self.session.run(OUTPUTS, dict(inputs))
        return dict(zip(OUTPUTS, results, strict=True))


def _placement(session: onnxruntime.InferenceSession) -> dict[str, int]:
    """Return the number of the graph's nodes that each provider got."""
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts)
