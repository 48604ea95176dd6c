from __future__ import annotations

import numpy as np
import pytest

from bertqa.artifact import INPUTS
from bertqa_build.bench.plan import BenchFiles, EngineName, Precision, Variant, variants
from bertqa_build.bench.worker import LOADERS

EVERY = variants(has_bf16=True)


def test_every_engine_and_precision_that_exists_is_planned() -> None:
    assert len(EVERY) == 10
    assert len(variants(has_bf16=False)) == 7
    assert Variant(EngineName.ONNX_RUNTIME_OPENVINO, Precision.INT8) in EVERY


@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_every_variant_proves_what_it_runs(files: BenchFiles, variant: Variant) -> None:
    engine, proof = LOADERS[variant.engine](files, variant.precision, 1)
    logits = engine.run({name: np.ones((2, 16), dtype=np.int64) for name in INPUTS})
    assert {array.shape for array in logits.values()} == {(2, 16)}
    if variant.engine is EngineName.PYTORCH:
        expected = "torch.bfloat16" if variant.precision is Precision.BF16 else "torch.float32"
        assert proof == {"linear layers": [expected]}
        return
    if variant.engine is not EngineName.OPENVINO:
        (provider,) = proof["nodes by provider"]
        assert provider.startswith(
            "CPU" if variant.engine is EngineName.ONNX_RUNTIME else "OpenVINO"
        )
    if variant.engine is not EngineName.ONNX_RUNTIME:
        assert (proof["threads"], proof["streams"]) == (1, 1)
        assert proof["hint"] == ("bf16" if variant.precision is Precision.BF16 else "f32")
        linear = {kind for kind in proof["execution"] if kind.startswith("FullyConnected")}
        precisions = {kind.rpartition(" ")[2] for kind in linear}
        assert (
            precisions
            <= {
                Precision.FP32: {"f32"},
                Precision.BF16: {"bf16"},
                Precision.INT8: {"i8", "u8"},
            }[variant.precision]
        )
        assert precisions
