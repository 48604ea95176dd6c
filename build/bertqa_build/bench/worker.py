"""One engine at one precision, in a process of its own.

Reads requests as lines of JSON from standard input and answers each with a line on standard output.
The first says what to load; each further one is a shape to run once.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from torch import nn

from bertqa.artifact import ModelInfo, synthetic_inputs
from bertqa.evaluation import time_call
from bertqa.runtime import Engine
from bertqa.runtime.onnxruntime import CPU_PROVIDER, OPENVINO_PROVIDER, OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine, core, executed_operations
from bertqa.runtime.torch import TorchEngine
from bertqa_build.bench.plan import BenchFiles, EngineName, Precision

MINIMUM_SECONDS = 0.1
"""A sample calls a small model as often as it takes to fill this time."""

_PRODUCTS = ("FullyConnected", "MatMul")
_NO_INFO = ModelInfo(tokenizer_json="{}", max_seq_len=512, doc_stride=128)


def main() -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries may print what they like
    request = json.loads(sys.stdin.readline())
    precision = Precision(request["precision"])
    os.sched_setaffinity(0, request["cores"])
    torch.set_num_threads(len(request["cores"]))
    load = LOADERS[EngineName(request["engine"])]
    files = BenchFiles(Path(request["files"]))
    engine, proof = load(files, precision, len(request["cores"]))
    config = json.loads((files.root / "config.json").read_text(encoding="utf-8"))
    words = range(config["vocab_size"])
    print(json.dumps({"proof": proof}), file=answers)
    warm = set()
    for line in sys.stdin:
        request = json.loads(line)
        inputs = synthetic_inputs(
            request["batch"], request["tokens"], names=engine.inputs, ids=words
        )
        if line not in warm:
            engine.run(inputs)
            warm.add(line)
        seconds = time_call(partial(engine.run, inputs), MINIMUM_SECONDS)
        print(json.dumps({"seconds": seconds}), file=answers)


def _load_pytorch(files: BenchFiles, precision: Precision, threads: int) -> tuple[Engine, Any]:
    # Importing transformers takes longer than loading most engines, which need none of it.
    from transformers import AutoConfig

    from bertqa_build.families import family_of
    from bertqa_build.model import SpanModel

    config = AutoConfig.from_pretrained(files.root, local_files_only=True)
    family = family_of(config.model_type)
    config._attn_implementation = family.fast_attention
    span_model = SpanModel(family.model_class(config))
    module: nn.Module = span_model
    if precision is Precision.BF16:
        module = _Autocast(module)
    engine = TorchEngine(module, _NO_INFO, inputs=span_model.inputs)
    seen: Counter[str] = Counter()
    hooks = [
        layer.register_forward_hook(lambda _, __, output: seen.update([f"{output.dtype}"]))
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
    ]
    words = range(span_model.vocabulary)
    engine.run(synthetic_inputs(1, 16, names=engine.inputs, ids=words))
    for hook in hooks:
        hook.remove()
    return engine, {"linear layers": sorted(seen)}


class _Autocast(nn.Module):
    """Holds its weights in bf16 and computes what is sensitive in FP32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.to(torch.bfloat16)

    def forward(self, **inputs: torch.Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return self.module(**inputs)


def _load_onnx_runtime(files: BenchFiles, precision: Precision, threads: int) -> tuple[Engine, Any]:
    engine = OnnxRuntimeEngine(
        files.onnx(precision), _NO_INFO, provider=CPU_PROVIDER, threads=threads
    )
    return engine, {"nodes by provider": engine.placement}


def _load_onnx_runtime_openvino(
    files: BenchFiles, precision: Precision, threads: int
) -> tuple[Engine, Any]:
    properties = _openvino_properties(precision, threads)
    # The provider does not show what it compiled: OpenVINO is asked to compile the same.
    same = core().compile_model(files.onnx(precision), "CPU", properties)
    execution = _execution(same)
    del same
    engine = OnnxRuntimeEngine(
        files.onnx(precision),
        _NO_INFO,
        provider=OPENVINO_PROVIDER,
        threads=threads,
        execution=properties,
    )
    return engine, {"nodes by provider": engine.placement, **execution}


def _load_openvino(files: BenchFiles, precision: Precision, threads: int) -> tuple[Engine, Any]:
    engine = OpenVINOEngine(
        files.ir(precision), _NO_INFO, properties=_openvino_properties(precision, threads)
    )
    return engine, _execution(engine.compiled)


LOADERS: dict[EngineName, Callable[[BenchFiles, Precision, int], tuple[Engine, Any]]] = {
    EngineName.PYTORCH: _load_pytorch,
    EngineName.ONNX_RUNTIME: _load_onnx_runtime,
    EngineName.ONNX_RUNTIME_OPENVINO: _load_onnx_runtime_openvino,
    EngineName.OPENVINO: _load_openvino,
}


def _openvino_properties(precision: Precision, threads: int) -> dict[str, Any]:
    hint = "bf16" if precision is Precision.BF16 else "f32"
    return {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }


def _execution(compiled: ov.CompiledModel) -> dict[str, Any]:
    """Read back in which precision each kind of matrix product is executed."""
    counts = Counter(
        f"{operation.kind} {operation.precision}"
        for operation in executed_operations(compiled)
        if operation.kind in _PRODUCTS
    )
    return {
        "execution": dict(sorted(counts.items())),
        "hint": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
        "streams": compiled.get_property("NUM_STREAMS"),
    }


if __name__ == "__main__":
    main()
