from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
import torch
from onnx import TensorProto
from torch import Tensor

from bertqa.runtime.onnxruntime import OPENVINO_PROVIDER, OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine, core
from bertqa.transport import Inputs
from bertqa_build.errors import BuildError
from bertqa_build.export import to_onnx, to_openvino, write_onnx, write_openvino
from bertqa_build.model import SpanModel
from bertqa_build.quantization import quantize
from bertqa_build.recipe import Quantization
from tests.support.checkpoints import tiny_bert
from tests.support.models import VOCABULARY_SIZE, model_info

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
OUTPUTS = ["start_logits", "end_logits"]
PRECISIONS = ["fp32", "int8"]


def inputs(batch: int, tokens: int) -> Inputs:
    ids = np.random.default_rng(0).integers(1000, 20_000, (batch, tokens))
    mask = np.ones_like(ids)
    mask[-1, tokens // 2 :] = 0
    return dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))


@pytest.fixture(scope="module")
def modules() -> dict[str, SpanModel]:
    fp32 = SpanModel(tiny_bert()).eval()
    windows = [{name: array[0] for name, array in inputs(1, 40).items()}] * 4
    return {"fp32": fp32, "int8": quantize(fp32, windows, Quantization(calibration_windows=4))}


@pytest.fixture(scope="module")
def folder(modules: dict[str, SpanModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for name, module in modules.items():
        quantized = name == "int8"
        write_openvino(
            to_openvino(module, quantized=quantized), model_info(name), folder / f"{name}.xml"
        )
        write_onnx(to_onnx(module, quantized=quantized), model_info(name), folder / f"{name}.onnx")
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_ir_keeps_the_contract(folder: Path, precision: str) -> None:
    model = core().read_model(folder / f"{precision}.xml")
    assert [port.get_names() for port in model.inputs] == [{name} for name in INPUTS]
    assert [port.get_names() for port in model.outputs] == [{name} for name in OUTPUTS]
    assert {str(port.get_element_type()) for port in model.inputs} == {"<Type: 'int64_t'>"}
    assert {str(port.get_element_type()) for port in model.outputs} == {"<Type: 'float32'>"}
    for port in (*model.inputs, *model.outputs):
        shape = port.get_partial_shape()
        assert len(shape) == 2
        assert all(dimension.is_dynamic for dimension in shape)
    assert OpenVINOEngine(folder / f"{precision}.xml").info == model_info(precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_module_has_the_same_bytes_again(
    modules: dict[str, SpanModel], folder: Path, tmp_path: Path, precision: str
) -> None:
    module, quantized, info = modules[precision], precision == "int8", model_info(precision)
    write_openvino(to_openvino(module, quantized=quantized), info, tmp_path / f"{precision}.xml")
    write_onnx(to_onnx(module, quantized=quantized), info, tmp_path / f"{precision}.onnx")
    for suffix in ("xml", "bin", "onnx"):
        name = f"{precision}.{suffix}"
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_onnx_keeps_the_contract(folder: Path, precision: str) -> None:
    path = folder / f"{precision}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(port.name, port.type) for port in session.get_inputs()] == [
        (name, "tensor(int64)") for name in INPUTS
    ]
    assert [(port.name, port.type) for port in session.get_outputs()] == [
        (name, "tensor(float)") for name in OUTPUTS
    ]
    for port in (*session.get_inputs(), *session.get_outputs()):
        assert port.shape == ["batch", "tokens"]
    model = onnx.load(path)
    assert {each.domain for each in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    assert OnnxRuntimeEngine(path).info == model_info(precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("batch", "tokens"), [(1, 8), (3, 77)])
def test_every_engine_returns_the_logits_of_the_module(
    modules: dict[str, SpanModel], folder: Path, precision: str, batch: int, tokens: int
) -> None:
    values = inputs(batch, tokens)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(array) for name, array in values.items()}
        expected = dict(zip(OUTPUTS, modules[precision](**tensors), strict=True))
    for engine in (
        OpenVINOEngine(folder / f"{precision}.xml"),
        OnnxRuntimeEngine(folder / f"{precision}.onnx"),
        OnnxRuntimeEngine(folder / f"{precision}.onnx", provider=OPENVINO_PROVIDER),
    ):
        outputs = engine.infer(values, version=None, timeout=1).outputs
        for name, tensor in expected.items():
            logits, reference = outputs[name], tensor.numpy()
            assert logits.shape == (batch, tokens)
            assert logits.dtype == np.float32
            if precision == "fp32":
                np.testing.assert_allclose(logits, reference, atol=1e-3)
            else:
                assert np.corrcoef(logits.ravel(), reference.ravel())[0, 1] > 0.98


def test_int8_weights_are_stored_in_int8_in_both_formats(folder: Path) -> None:
    constants = {
        tuple(operation.get_output_shape(0)): operation.get_output_element_type(0)
        for operation in core().read_model(folder / "int8.xml").get_ops()
        if operation.get_type_name() == "Constant"
    }
    assert constants[VOCABULARY_SIZE, 32] == ov.Type.i8
    graph = onnx.load(folder / "int8.onnx").graph
    large = [tensor for tensor in graph.initializer if np.prod(tensor.dims) >= 32 * 32]
    assert len(large) > 10
    floating = [tensor for tensor in large if tensor.data_type == TensorProto.FLOAT]
    # The scales of the word embeddings, one for each word, are all that is left.
    assert [tuple(tensor.dims) for tensor in floating] == [(VOCABULARY_SIZE, 1)]
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("DequantizeLinear") > kinds.count("QuantizeLinear") > 10


def test_a_graph_that_computes_something_else_is_refused() -> None:
    class Fickle(SpanModel):
        """Returns other logits once it is not traced."""

        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            start, end = super().forward(input_ids, attention_mask, token_type_ids)
            tracing = torch._C._get_tracing_state() is not None
            return (start, end) if tracing else (start.square(), end)

    with pytest.raises(BuildError, match="its start_logits differ by"):
        to_openvino(Fickle(tiny_bert()))
