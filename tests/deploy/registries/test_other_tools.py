"""What `publish --layout hub` writes, as Optimum-Intel, Optimum and ONNX Runtime open it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bertqa import QAClient
from bertqa.artifact import IR_FILE, Repository
from bertqa.runtime.openvino import OpenVINOEngine
from bertqa_deploy.storage.address import Address, Layout
from bertqa_deploy.storage.publishing import publish
from tests.support.optimum_onnx import python_with_optimum_onnx

pytestmark = pytest.mark.thorough

QUESTION = "What is the capital of Normandy?"
CONTEXT = "Rouen is the capital of Normandy. The Normans came there in the 10th century."
WITH_OPTIMUM = """
import json, sys
from optimum.onnxruntime import ORTModelForQuestionAnswering
from transformers import AutoTokenizer, pipeline

folder, question, context = sys.argv[1:]
model = ORTModelForQuestionAnswering.from_pretrained(folder, provider="OpenVINOExecutionProvider")
answer = pipeline(
    "question-answering", model=model, tokenizer=AutoTokenizer.from_pretrained(folder)
)(question=question, context=context)
print(json.dumps({"providers": model.providers, "answer": answer["answer"]}))
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["fp32", "int8"])
def laid_out(
    request: pytest.FixtureRequest,
    demo_repository: Repository,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "qa"
    publish(demo_repository, request.param, Address("", str(folder)), layout=Layout.HUB)
    return folder


@pytest.fixture(scope="module")
def answer(laid_out: Path, demo_repository: Repository) -> str:
    """What the client answers with the same version."""
    precision = json.loads((laid_out / "manifests" / "openvino.json").read_text())["precision"]
    version = {"FP32": 1, "INT8": 2}[precision]
    engine = OpenVINOEngine(demo_repository.version_dir(version) / IR_FILE)
    with QAClient(transport=engine) as qa:
        return qa.answer(QUESTION, CONTEXT).text


def test_optimum_intel_answers_as_the_client_does(laid_out: Path, answer: str) -> None:
    from optimum.intel import OVModelForQuestionAnswering
    from transformers import AutoTokenizer

    model = OVModelForQuestionAnswering.from_pretrained(laid_out)
    tokenizer = AutoTokenizer.from_pretrained(laid_out)
    encoded = tokenizer(QUESTION, CONTEXT, return_tensors="np", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0]
    outputs = model(**encoded)
    start, end = (int(np.argmax(each)) for each in (outputs.start_logits, outputs.end_logits))
    assert CONTEXT[offsets[start][0] : offsets[end][1]] == answer
    assert model.config.architectures == ["BertForQuestionAnswering"]


def test_onnx_runtime_answers_as_the_client_does(laid_out: Path, answer: str) -> None:
    import onnxruntime
    from transformers import AutoTokenizer

    session = onnxruntime.InferenceSession(
        laid_out / "model.onnx", providers=["OpenVINOExecutionProvider"]
    )
    assert session.get_providers()[0] == "OpenVINOExecutionProvider"
    tokenizer = AutoTokenizer.from_pretrained(laid_out)
    encoded = tokenizer(QUESTION, CONTEXT, return_tensors="np", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0]
    logits = session.run(["start_logits", "end_logits"], dict(encoded))
    start, end = (int(np.argmax(each)) for each in logits)
    assert CONTEXT[offsets[start][0] : offsets[end][1]] == answer


@pytest.mark.timeout(1200)
def test_optimum_s_pipeline_answers_as_the_client_does(laid_out: Path, answer: str) -> None:
    python = python_with_optimum_onnx()
    done = subprocess.run(
        [python, "-c", WITH_OPTIMUM, laid_out, QUESTION, CONTEXT],
        capture_output=True,
        text=True,
        check=False,
        cwd=laid_out,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["providers"][0] == "OpenVINOExecutionProvider"
    assert found["answer"] == answer
