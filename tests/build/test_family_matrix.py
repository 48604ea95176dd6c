"""Every family through whole builds into one repository: calibrated, and fine-tuned and trained in
INT8, as IR and as ONNX, served and asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bertqa.artifact import IR_FILE, ONNX_FILE, Repository
from bertqa.client import QAClient
from bertqa.runtime import Engine
from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine
from bertqa.transport import Inputs, Outputs
from bertqa_build.families import family_of
from bertqa_build.model import SpanModel
from bertqa_build.pipeline import build
from bertqa_build.quantization import load_quantized
from bertqa_build.recipe import load_recipe
from bertqa_build.work_files import FINETUNED, INT8_PYTORCH
from tests.support.checkpoints import CONTEXT, QUESTIONS, write_squad
from tests.support.engines import Served
from tests.support.families import FAMILIES, Row
from tests.support.models import write_config

pytestmark = [pytest.mark.thorough, pytest.mark.e2e]

RECIPE = """
name: tiny
source: checkpoint
model: {max_seq_len: 96, doc_stride: 16, max_question_len: 32}
data: {train: [squad.json], evaluation: squad.json}
quantization: {calibration_windows: 4}
gate: {min_f1: 0, min_exact_match: 0, max_f1_drop: 100, max_unknown: 10}
"""
TRAINING = "{learning_rate: 0.001, max_windows: 8, batch_size: 4, max_seq_len: 96, doc_stride: 16}"
WAYS = {
    "calibrated": "",
    "fine-tuned, and trained in INT8": f"finetune: {TRAINING}\nqat: {TRAINING}\n",
}
MATRIX = [(row, way) for row in FAMILIES for way in WAYS if row.is_own or way != "calibrated"]
QUESTION = next(iter(QUESTIONS))
LARGEST_ERROR = {"FP32": 1e-3, "INT8": 0.25}


def build_family(row: Row, folder: Path, way: str, repository: Repository) -> dict[int, SpanModel]:
    """Publish two versions, and return the PyTorch model of each by its number."""
    folder.mkdir()
    row.write(folder / "checkpoint")
    write_squad(folder / "squad.json", copies=2)
    (folder / "recipe.yaml").write_text(RECIPE + WAYS[way], encoding="utf-8")
    recipe = load_recipe(folder / "recipe.yaml")
    result = build(recipe, repository, folder / "work", allow_leakage=True)
    work = folder / "work" / recipe.name
    finetuned = list(work.glob(f"fp32-*/{FINETUNED}"))
    assert bool(finetuned) == ("fine-tuned" in way)
    source = finetuned[0] if finetuned else folder / "checkpoint"
    model = family_of(row.model_type).model_class.from_pretrained(source, dtype=torch.float32)
    (int8,) = work.glob(f"int8-*/{INT8_PYTORCH}")
    return {
        result.fp32.version: SpanModel(model).eval(),
        result.int8.version: load_quantized(int8),
    }


def assert_same_logits(engine: Engine, module: SpanModel, precision: str) -> None:
    with QAClient(transport=Checked(engine, module, LARGEST_ERROR[precision])) as qa:
        for question in QUESTIONS:
            answer = qa.answer(question, CONTEXT)
            assert CONTEXT[answer.start : answer.end] == answer.text


class Checked(Engine):
    """An engine whose every request is run by PyTorch too."""

    def __init__(self, engine: Engine, module: SpanModel, largest: float) -> None:
        super().__init__(engine.info, inputs=engine.inputs)
        self.engine, self.module, self.largest = engine, module, largest

    def run(self, inputs: Inputs) -> Outputs:
        assert tuple(inputs) == self.module.inputs
        outputs = self.engine.run(inputs)
        with torch.no_grad():
            tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
            expected = self.module(**tensors)
        inside = inputs["attention_mask"].astype(bool)
        for name, tensor in zip(("start_logits", "end_logits"), expected, strict=True):
            logits, reference = outputs[name][inside], tensor.numpy()[inside]
            error = np.sqrt(np.mean((logits - reference) ** 2)) / reference.std()
            assert error < self.largest, name
        return outputs


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Where all families are published, side by side."""
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.mark.parametrize(("row", "way"), MATRIX, ids=str)
def test_a_family_is_built_served_and_asked(
    row: Row, way: str, repository: Repository, tmp_path: Path
) -> None:
    modules = build_family(row, tmp_path / "build", way, repository)
    for version, module in modules.items():
        manifest = repository.manifest(version)
        assert (manifest.family, manifest.inputs) == (row.model_type, row.inputs)
        ir = OpenVINOEngine(repository.version_dir(version) / IR_FILE)
        onnx = OnnxRuntimeEngine(repository.version_dir(version, "bert-qa-onnx") / ONNX_FILE)
        assert ir.info.family == onnx.info.family == row.model_type
        for engine in (ir, onnx):
            assert engine.inputs == row.inputs
            assert_same_logits(engine, module, manifest.precision)
    served = {"specific": {"versions": list(modules)}}
    write_config(repository.root, "bert-qa", "bert-qa-onnx", policy=served)
    with Served("local", repository.root) as server:
        # A server does not return the metadata of an ONNX model, and so neither its limit.
        for model, tokenizer in (
            ("bert-qa", None),
            ("bert-qa-onnx", tmp_path / "build/checkpoint"),
        ):
            for scheme in ("grpc", "http"):
                with QAClient(**server.address(scheme), model=model, tokenizer=tokenizer) as qa:
                    for version in modules:
                        answer = qa.answer(QUESTION, CONTEXT, version=version, max_seq_len=96)
                        assert answer.model_version == version
                        assert CONTEXT[answer.start : answer.end] == answer.text
