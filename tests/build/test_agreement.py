"""The three outputs of a build, INT8 in PyTorch, ONNX and OpenVINO IR, are one model.

They cannot be equal bit for bit: where a value falls on the edge between two levels, the last bit
of a sum decides to which side an engine rounds it, and later layers spread that. On this little
checkpoint without training some answers in a hundred change; docs/results.md has the figures of a
trained one, on thousands of questions.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig

from bertqa.artifact import IR_FILE, ONNX_FILE
from bertqa.client import QAClient
from bertqa.evaluation import SquadDataset
from bertqa.evaluation._evaluate import predict
from bertqa.evaluation._metrics import score
from bertqa.runtime import Engine
from bertqa.runtime.onnxruntime import OnnxRuntimeEngine
from bertqa.runtime.openvino import OpenVINOEngine
from bertqa.runtime.torch import TorchEngine
from bertqa_build.quantization import load_quantized
from bertqa_build.recipe_data import RecipeData
from bertqa_build.work_files import INT8_PYTORCH
from tests.support.demo import DemoBuild

QUESTION = "How many miles per second does light travel?"
CONTEXT = "Light travels 186,282 miles, or 299,792,458 metres, in a second."


@pytest.fixture(scope="module")
def dataset(demo_build: DemoBuild) -> SquadDataset:
    return RecipeData(demo_build.recipe).evaluation


def test_the_three_outputs_agree(demo_build: DemoBuild, dataset: SquadDataset) -> None:
    repository = demo_build.repository
    ir = OpenVINOEngine(repository.version_dir(2) / IR_FILE)
    (pytorch,) = demo_build.work_dir.glob(f"*/int8-*/{INT8_PYTORCH}")
    engines: dict[str, Engine] = {
        "IR": ir,
        "ONNX": OnnxRuntimeEngine(repository.version_dir(2, "bert-qa-onnx") / ONNX_FILE),
        "PyTorch": TorchEngine(load_quantized(pytorch), ir.info),
    }
    predictions = {}
    for name, engine in engines.items():
        with QAClient(transport=engine) as qa:
            predictions[name] = predict(qa, dataset)
    for one, other in combinations(predictions, 2):
        f1 = [score(predictions[name], dataset).f1 for name in (one, other)]
        assert f1[0] == pytest.approx(f1[1], abs=2), (one, other)
        same = [predictions[one][each.id] == predictions[other][each.id] for each in dataset]
        assert np.mean(same) >= 0.93, (one, other)


@pytest.mark.parametrize("version", [1, 2])
def test_optimum_intel_loads_the_ir(demo_build: DemoBuild, version: int) -> None:
    # It takes four seconds to import, and each worker imports all tests.
    from optimum.intel import OVModelForQuestionAnswering

    directory = demo_build.repository.version_dir(version)
    model = OVModelForQuestionAnswering(
        OVModelForQuestionAnswering.load_model(directory / IR_FILE),
        config=BertConfig(),
        ov_config={"INFERENCE_PRECISION_HINT": "f32"},
    )
    engine = OpenVINOEngine(directory / IR_FILE)
    encoding = Tokenizer.from_str(engine.info.tokenizer_json).encode(QUESTION, CONTEXT)
    inputs = {
        "input_ids": np.array([encoding.ids]),
        "attention_mask": np.array([encoding.attention_mask]),
        "token_type_ids": np.array([encoding.type_ids]),
    }
    outputs = model(**{name: torch.from_numpy(array) for name, array in inputs.items()})
    for name, expected in engine.run(inputs).items():
        np.testing.assert_allclose(outputs[name].numpy(), expected, atol=1e-4)
    start, end = (int(outputs[name].argmax()) for name in ("start_logits", "end_logits"))
    assert "186,282" in CONTEXT[encoding.offsets[start][0] : encoding.offsets[end][1]]
