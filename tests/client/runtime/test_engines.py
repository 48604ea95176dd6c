from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from onnx import TensorProto, helper, save
from openvino import opset13 as ops

from bertqa.artifact import INPUTS, ModelInfo
from bertqa.errors import BertQAError, DeadlineExceededError, ModelLoadError, NotAQAModelError
from bertqa.runtime import Engine
from bertqa.runtime.onnxruntime import CPU_PROVIDER, OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine, core, executed_operations
from bertqa.transport import Inputs, Outputs
from tests.support.models import model_info, toy_qa_model, write_toy_version


def inputs(ids: list[int]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    return {name: np.array([ids]) for name in INPUTS}


def test_the_ir_describes_itself(tmp_path: Path) -> None:
    directory = write_toy_version(tmp_path, 3)
    engine = OpenVINOEngine(directory / "model.xml", version=3)
    metadata = engine.metadata(version=None, timeout=1)
    assert metadata.versions == (3,)
    assert metadata.rt_info == model_info().to_rt_info()
    assert engine.infer(inputs([1, 2]), version=None, timeout=1).model_version == 3


def test_threads_do_not_mix_up_their_results() -> None:
    engine = OpenVINOEngine(toy_qa_model(), model_info())
    alone = {token: engine.run(inputs([token] * 50))["start_logits"] for token in range(1000, 1040)}
    with ThreadPoolExecutor(8) as pool:
        for token, result in zip(
            alone,
            pool.map(
                lambda token: engine.infer(inputs([token] * 50), version=None, timeout=1), alone
            ),
            strict=True,
        ):
            np.testing.assert_array_equal(result.outputs["start_logits"], alone[token])


def test_a_request_does_not_wait_for_another_beyond_its_time() -> None:
    engine = Slow(model_info())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.infer, inputs([1]), version=None, timeout=60)
        assert engine.begun.wait(60)
        with pytest.raises(DeadlineExceededError):
            engine.infer(inputs([1]), version=None, timeout=0.01)
        engine.goes_on.set()
        assert first.result().model_version == 1


class Slow(Engine):
    """Waits until it is released."""

    def __init__(self, info: ModelInfo) -> None:
        super().__init__(info)
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def run(self, inputs: Inputs) -> Outputs:
        self.begun.set()
        assert self.goes_on.wait(60)
        return {}


def test_inputs_that_do_not_fit_each_other_are_refused() -> None:
    arrays = {**inputs([1, 2]), "input_ids": np.ones((1, 3), dtype=np.int64)}
    engine = OpenVINOEngine(toy_qa_model(), model_info())
    with pytest.raises(BertQAError, match="cannot run the model on these inputs") as raised:
        engine.infer(arrays, version=None, timeout=60)
    assert raised.value.detail
    assert engine.infer(inputs([1, 2]), version=None, timeout=60).model_version == 1


def test_a_model_that_does_not_describe_itself_is_refused(tmp_path: Path) -> None:
    directory = write_toy_version(tmp_path, 1, describe=False)
    with pytest.raises(NotAQAModelError, match="no model_info in its rt_info"):
        OpenVINOEngine(directory / "model.xml")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for engine, name in ((OpenVINOEngine, "model.xml"), (OnnxRuntimeEngine, "model.onnx")):
        (tmp_path / name).write_text("nothing")
        with pytest.raises(ModelLoadError, match=f"cannot load .*{name}") as raised:
            engine(tmp_path / name)
        assert raised.value.detail


def test_a_provider_that_falls_back_is_refused(tmp_path: Path) -> None:
    """ONNX Runtime leaves to its CPU provider, in silence, what OpenVINO does not know."""
    texts = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in "xy"]
    node = helper.make_node("StringConcat", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "text", texts[:1], texts[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    save(model, tmp_path / "text.onnx")
    with pytest.raises(ModelLoadError, match=rf"OpenVINOExecutionProvider alone.*{CPU_PROVIDER}"):
        OnnxRuntimeEngine(
            tmp_path / "text.onnx", model_info(), provider="OpenVINOExecutionProvider"
        )


def test_what_is_not_quantised_runs_in_fp32() -> None:
    compiled = OpenVINOEngine(toy_qa_model(), model_info()).compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32


def test_each_stream_runs_a_request_at_the_same_time() -> None:
    engine = Meeting(model_info(), at_once=2)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(engine.infer, inputs([1]), version=None, timeout=60) for _ in range(2)]
        assert [each.result().model_version for each in calls] == [1, 1]


class Meeting(Engine):
    """Runs a request only while it runs another one."""

    def __init__(self, info: ModelInfo, *, at_once: int) -> None:
        super().__init__(info, at_once=at_once)
        self._both = threading.Barrier(at_once)

    def run(self, inputs: Inputs) -> Outputs:
        self._both.wait(60)
        return {}


def test_requests_in_several_streams_do_not_mix_up_their_results() -> None:
    engine = OpenVINOEngine(toy_qa_model(), model_info(), properties={"NUM_STREAMS": 2})
    alone = {token: engine.run(inputs([token] * 50))["start_logits"] for token in range(1000, 1040)}
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(
            lambda token: engine.infer(inputs([token] * 50), version=None, timeout=60), alone
        )
        for token, result in zip(alone, results, strict=True):
            np.testing.assert_array_equal(result.outputs["start_logits"], alone[token])


def test_stored_int8_weights_alone_do_not_make_an_int8_product() -> None:
    values = ops.parameter([-1, 64], np.float32, name="x")
    weights = ops.convert(ops.constant(np.ones((64, 64), dtype=np.int8)), "f32")
    scaled = ops.multiply(weights, ops.constant(np.full((64, 1), 0.1, dtype=np.float32)))
    product = ops.matmul(values, scaled, transpose_a=False, transpose_b=True)
    product.set_friendly_name("product")
    compiled = core().compile_model(
        ov.Model([product], [values]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    (executed,) = [each for each in executed_operations(compiled) if "product" in each.names]
    assert (executed.kind, executed.precision) == ("FullyConnected", "f32")


SIGNAL_AFTER_ENGINES = """
import signal, sys
from pathlib import Path
from bertqa.runtime.openvino import OpenVINOEngine

signals = []
signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
first, second = (OpenVINOEngine(Path(sys.argv[1])) for _ in range(2))
del first, second
signal.raise_signal(signal.SIGTERM)
assert signals == [signal.SIGTERM]
"""


def test_signals_arrive_after_engines_are_gone(tmp_path: Path) -> None:
    model = write_toy_version(tmp_path, 1) / "model.xml"
    command = [sys.executable, "-c", SIGNAL_AFTER_ENGINES, str(model)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
