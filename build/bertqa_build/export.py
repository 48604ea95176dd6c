"""Exporting a torch module to OpenVINO IR and to ONNX, each checked against the module."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nncf
import numpy as np
import onnx
import onnxruntime
import openvino as ov
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertqa.artifact import OUTPUTS, ModelInfo, synthetic_inputs
from bertqa.runtime.openvino import MODEL_INFO, core
from bertqa_build.compilation import compiled_quantizers
from bertqa_build.errors import BuildError
from bertqa_build.model import SpanModel
from bertqa_build.onnx_folding import fold_quantized_weights
from bertqa_build.quiet import quiet

ONNX_OPSET = 17

FP32_TOLERANCE = 1e-3
INT8_TOLERANCE = 0.25
"""Largest root mean square error of logits, divided by their standard deviation. Where a value
falls on the edge between two levels, engines round it to different sides, and INT8 logits differ a
little."""


def to_openvino(module: SpanModel, *, quantized: bool = False) -> ov.Model:
    """Convert a module to OpenVINO IR, in memory.

    Args:
        module: A `SpanModel`, or what `quantize` made of one.
        quantized: Whether NNCF quantised the module. The IR then has its FakeQuantize operations
            and INT8 weights, also those of the embeddings.

    Returns:
        The IR, with the inputs and outputs of the tensor contract; both dimensions are dynamic.

    Raises:
        BuildError: The IR's logits differ from the module's.
    """
    with quiet(), compiled_quantizers(), torch.no_grad(), module.family.exporting():
        model = ov.convert_model(module.eval(), example_input=_example(module, 2, 16))
    for port, name in zip(model.inputs, module.inputs, strict=True):
        _name(port, name)
        port.get_node().set_partial_shape(ov.PartialShape([-1, -1]))
        port.get_node().set_element_type(ov.Type.i64)
    for port, name in zip(model.outputs, OUTPUTS, strict=True):
        _name(port, name)
    model.validate_nodes_and_infer_types()
    _name_by_place(model)
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    _require_same_logits("The OpenVINO IR", module, quantized, lambda inputs: compiled(inputs))
    return model


def write_openvino(model: ov.Model, info: ModelInfo, path: Path) -> None:
    """Write an IR to disk, uncompressed.

    Args:
        model: The IR.
        info: The model's description of itself, in `rt_info["model_info"]`.
        path: The .xml file; the .bin file is written beside it.

    Raises:
        BuildError: The files cannot be written.
    """
    for key, value in info.to_rt_info().items():
        model.set_rt_info(value, [MODEL_INFO, key])
    try:
        ov.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise BuildError(
            f"{path} cannot be written. Is the disk full?", detail=str(error)
        ) from error


def to_onnx(module: SpanModel, *, quantized: bool = False) -> onnx.ModelProto:
    """Convert a module to ONNX, in memory.

    Args:
        module: A `SpanModel`, or what `quantize` made of one.
        quantized: Whether NNCF quantised the module. Its quantisers then become QuantizeLinear and
            DequantizeLinear of the standard domain, and its weights are stored in INT8.

    Returns:
        The ONNX model, with the inputs and outputs of the tensor contract; both dimensions are
        dynamic.

    Raises:
        BuildError: In ONNX Runtime, the model's logits differ from the module's.
    """
    example = _example(module, 2, 16)
    with (
        quiet(),
        compiled_quantizers(),
        torch.no_grad(),
        module.family.exporting(),
        tempfile.TemporaryDirectory() as directory,
    ):
        plain = module.eval()
        if quantized:
            plain = nncf.strip(
                module,
                do_copy=True,
                strip_format=nncf.StripFormat.NATIVE,
                example_input=dict(example),
            )
        path = Path(directory) / "model.onnx"
        torch.onnx.export(
            plain,
            tuple(example.values()),
            path,
            dynamo=False,
            opset_version=ONNX_OPSET,
            input_names=list(module.inputs),
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in module.inputs + OUTPUTS},
        )
        model = onnx.load(path)
    model.graph.name = "bert_qa"
    _require_inputs(model.graph, module.inputs)
    if quantized:
        fold_quantized_weights(model.graph)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    _require_same_logits(
        "The ONNX model",
        module,
        quantized,
        lambda inputs: dict(zip(OUTPUTS, session.run(OUTPUTS, inputs), strict=True)),
    )
    return model


def _require_inputs(graph: onnx.GraphProto, names: Sequence[str]) -> None:
    """Add inputs that do not matter, such as the mask of a model whose attention was pruned."""
    there = {each.name for each in graph.input}
    missing = [name for name in names if name not in there]
    graph.input.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "tokens"])
        for name in missing
    )


def write_onnx(model: onnx.ModelProto, info: ModelInfo, path: Path) -> None:
    """Write an ONNX model to disk.

    Args:
        model: The model. Its metadata properties are set.
        info: The model's description of itself, in the metadata properties.
        path: The .onnx file.
    """
    onnx.helper.set_model_props(model, info.to_rt_info())
    onnx.save(model, path)


def _example(module: SpanModel, batch: int, tokens: int) -> dict[str, Tensor]:
    inputs = synthetic_inputs(
        batch, tokens, names=module.inputs, ids=range(module.vocabulary), padded=True
    )
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


def _name(port: ov.Output, name: str) -> None:
    port.get_tensor().set_names({name})
    port.get_node().set_friendly_name(name)


def _name_by_place(model: ov.Model) -> None:
    """Name what has no name of its own after its place in the graph.

    OpenVINO numbers it by a counter of the process, so that a second build would have other names.
    """
    model.set_friendly_name("bert_qa")
    counts: Counter[str] = Counter()
    for operation in model.get_ordered_ops():
        kind = operation.get_type_name()
        if re.fullmatch(rf"{kind}_\d+", operation.get_friendly_name()):
            counts[kind] += 1
            operation.set_friendly_name(f"{kind}_{counts[kind]}")


def _require_same_logits(
    what: str,
    module: SpanModel,
    quantized: bool,
    run: Callable[[dict[str, NDArray[np.int64]]], Mapping[str, NDArray[np.float32]]],
) -> None:
    """Compare on shapes that the export has not seen: both dimensions must be dynamic."""
    tolerance = INT8_TOLERANCE if quantized else FP32_TOLERANCE
    for batch, tokens in ((1, 40), (3, 24)):
        example = _example(module, batch, tokens)
        with torch.no_grad():
            expected = module(**example)
        outputs = run({name: tensor.numpy() for name, tensor in example.items()})
        for name, tensor in zip(OUTPUTS, expected, strict=True):
            logits, reference = outputs[name], tensor.numpy()
            if logits.shape != (batch, tokens) or logits.dtype != np.float32:
                raise BuildError(
                    f"{what} returns {name} as {logits.dtype}{list(logits.shape)}; it should be "
                    f"float32[{batch}, {tokens}]."
                )
            error = float(np.sqrt(np.mean((logits - reference) ** 2)) / np.std(reference))
            if not error <= tolerance:
                raise BuildError(
                    f"{what} is not the model that was exported: its {name} differ by {error:.2g} "
                    f"standard deviations, and at most {tolerance:g} are allowed."
                )
