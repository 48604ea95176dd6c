"""Every family is quantised, exported and asked as BERT is; the whole matrix is in
`test_family_matrix.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from bertqa.artifact import IR_FILE, ONNX_FILE, ModelInfo
from bertqa.client import QAClient
from bertqa.evaluation import read_squad
from bertqa.runtime.openvino import OpenVINOEngine, core
from bertqa.runtime.torch import TorchEngine
from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.data import training_windows
from bertqa_build.export import to_onnx, to_openvino, write_openvino
from bertqa_build.families import family_of, model_types
from bertqa_build.model import SpanModel
from bertqa_build.quantization import quantize
from bertqa_build.recipe import Quantization
from tests.support.checkpoints import CONTEXT, QUESTIONS, write_squad
from tests.support.families import FAMILIES, Row
from tests.support.trained_tokenizers import word_piece

OWN = [row for row in FAMILIES if row.is_own]
every_family = pytest.mark.parametrize("row", FAMILIES, ids=str)


def encoded(row: Row, pairs: list[tuple[str, str]]) -> dict[str, Tensor]:
    """The inputs of models in transformers: padded by the tokenizer, with its padding token."""
    tokenizer = Tokenizer.from_str(row.tokenizer_json())
    padding = row.model().config.pad_token_id
    tokenizer.enable_padding(pad_id=padding)
    tokenizer.enable_truncation(128, strategy="only_second")
    found = tokenizer.encode_batch(pairs)
    values = {
        "input_ids": [each.ids for each in found],
        "attention_mask": [each.attention_mask for each in found],
        "token_type_ids": [each.type_ids for each in found],
    }
    return {name: torch.tensor(values[name]) for name in row.inputs}


def difference(logits: Tensor, reference: Tensor, mask: Tensor) -> float:
    """The root mean square error of the logits of real tokens, in standard deviations."""
    inside = mask.bool()
    error = (logits - reference)[inside].square().mean().sqrt()
    return float(error / reference[inside].std())


def test_every_family_has_a_row() -> None:
    assert sorted(row.model_type for row in FAMILIES) == model_types()


@every_family
def test_a_model_computes_what_it_does_in_transformers(row: Row) -> None:
    model = row.model()
    short, *_, long = sorted(QUESTIONS, key=len)
    inputs = encoded(row, [(short, CONTEXT[:40]), (long, CONTEXT)])
    assert len(set(inputs["attention_mask"].sum(dim=1).tolist())) == 2
    with torch.no_grad():
        expected = model(**inputs)
        start, end = SpanModel(model)(**inputs)
    mask = inputs["attention_mask"]
    assert difference(start, expected.start_logits, mask) < 1e-4
    assert difference(end, expected.end_logits, mask) < 1e-4


@every_family
def test_a_model_has_the_inputs_of_its_family(row: Row) -> None:
    model = SpanModel(row.model())
    assert model.inputs == row.inputs
    positions = family_of(row.model_type).positions(model.model.config)
    assert (positions and len(positions)) == row.positions


def test_a_roberta_with_types_of_tokens_has_them_as_an_input() -> None:
    row = next(row for row in FAMILIES if row.model_type == "roberta")
    typed = replace(row, train=word_piece, settings={**row.settings, "type_vocab_size": 2})
    model = typed.model()
    typed = replace(typed, inputs=SpanModel(model).inputs)
    assert typed.inputs == ("input_ids", "attention_mask", "token_type_ids")
    inputs = encoded(typed, [(min(QUESTIONS), CONTEXT)])
    assert inputs["token_type_ids"].any()
    with torch.no_grad():
        expected = model(**inputs)
        start, _ = SpanModel(model)(**inputs)
    assert difference(start, expected.start_logits, inputs["attention_mask"]) < 1e-4


@every_family
def test_padding_beyond_the_last_position_changes_nothing(row: Row) -> None:
    model = row.model()
    config = model.config
    if row.positions is None:
        pytest.skip("a window may have any length")
    spare = config.max_position_embeddings - row.positions
    settings = {**config.to_dict(), "max_position_embeddings": 100 + spare}
    short = SpanModel(type(model)(type(config).from_dict(settings)))
    short.train(False)
    inputs = {name: torch.ones(1, 100, dtype=torch.int64) * 5 for name in row.inputs}
    inputs = {
        name: tensor.clamp(max=1) if name != "input_ids" else tensor
        for name, tensor in inputs.items()
    }
    padded = {name: torch.nn.functional.pad(tensor, (0, 28)) for name, tensor in inputs.items()}
    with torch.no_grad():
        expected, actual = short(**inputs), short(**padded)
    for one, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(other[:, :100], one, atol=1e-4, rtol=1e-4)
    too_long = {name: torch.nn.functional.pad(tensor, (0, 29)) for name, tensor in inputs.items()}
    with pytest.raises(RuntimeError, match=r"size of (the )?tensor"):
        short(**too_long)


def test_the_onnx_of_deberta_loads_in_the_engine_that_serves_it(tmp_path: Path) -> None:
    (row,) = (row for row in FAMILIES if row.model_type == "deberta-v2")
    module = SpanModel(row.model())
    onnx.save(to_onnx(module), tmp_path / ONNX_FILE)
    compiled = core().compile_model(tmp_path / ONNX_FILE, "CPU")
    inputs = encoded(row, [(question, CONTEXT) for question in QUESTIONS])
    with torch.no_grad():
        expected, _ = module(**inputs)
    outputs = compiled({name: tensor.numpy() for name, tensor in inputs.items()})
    logits = torch.from_numpy(outputs["start_logits"])
    assert difference(logits, expected, inputs["attention_mask"]) < 0.02


@pytest.mark.parametrize("row", OWN, ids=str)
def test_a_checkpoint_is_calibrated_exported_and_asked(row: Row, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(row.write(tmp_path / "checkpoint")), max_seq_len=96)
    windows = training_windows(
        read_squad(write_squad(tmp_path / "squad.json")).questions,
        checkpoint.tokenizer_json,
        max_seq_len=96,
        doc_stride=16,
        max_question_len=32,
        seed=0,
    )
    fp32 = SpanModel(checkpoint.model)
    int8 = quantize(checkpoint.model, windows, Quantization(calibration_windows=4))
    info = ModelInfo(checkpoint.tokenizer_json, max_seq_len=96, doc_stride=16)
    write_openvino(to_openvino(int8, quantized=True), info, tmp_path / IR_FILE)

    engine = OpenVINOEngine(tmp_path / IR_FILE)

    assert engine.inputs == row.inputs
    inputs = encoded(row, [(question, CONTEXT) for question in QUESTIONS])
    with torch.no_grad():
        expected, reference = int8(**inputs)[0], fp32(**inputs)[0]
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    logits = torch.from_numpy(engine.run(arrays)["start_logits"])
    assert difference(logits, expected, inputs["attention_mask"]) < 0.2
    assert difference(logits, reference, inputs["attention_mask"]) < 0.3
    with (
        QAClient(transport=engine) as qa,
        QAClient(transport=TorchEngine(fp32, info, inputs=fp32.inputs)) as pytorch,
    ):
        for question in QUESTIONS:
            answers = qa.answers(question, CONTEXT, top_k=5)
            assert all(CONTEXT[each.start : each.end] == each.text for each in answers)
            assert all(each.text == each.text.strip() for each in answers)
            best = pytorch.answer(question, CONTEXT)
            assert CONTEXT[best.start : best.end] == best.text
            assert np.isfinite([each.score for each in answers]).all()
