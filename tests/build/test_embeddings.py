"""Word embeddings in fewer bytes, in every family and both formats."""

from __future__ import annotations

import pytest
import torch

from bertqa_build.embeddings import Storage, with_stored_embeddings
from bertqa_build.export import to_onnx, to_openvino
from bertqa_build.model import SpanModel
from tests.support.families import FAMILIES, Row
from tests.support.pruning import batches, logits


@pytest.mark.parametrize(("storage", "most"), [("FP16", 0.01), ("INT8", 0.2)])
@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_a_copy_answers_nearly_alike(row: Row, storage: Storage, most: float) -> None:
    model = SpanModel(row.model())
    inputs = batches(model, 1)[0]
    small = with_stored_embeddings(model, storage)
    before, after = logits(model, inputs), logits(small, inputs)
    assert 0 < float((before - after).abs().max()) < most * float(before.std())
    kept = {id(each) for each in model.parameters()}
    assert all(id(each) in kept for each in small.parameters())
    assert with_stored_embeddings(model, "FP32") is model


@pytest.mark.parametrize("storage", ["FP16", "INT8"])
def test_both_formats_are_smaller_by_what_is_said(storage: Storage) -> None:
    model = SpanModel(FAMILIES[0].model())
    table = model.get_input_embeddings().get_parameter("weight")
    before = table.detach().clone()
    small = with_stored_embeddings(model, storage)
    saved = embedding_bytes(model)["FP32"] - embedding_bytes(model)[storage]
    assert saved > 0

    sizes = [to_onnx(each).ByteSize() for each in (model, small)]
    assert sizes[0] - sizes[1] == pytest.approx(saved, rel=0.05)
    constants = [
        sum(
            each.get_byte_size()
            for each in to_openvino(module).get_ops()
            if each.get_type_name() == "Constant"
        )
        for module in (model, small)
    ]
    assert constants[0] - constants[1] == pytest.approx(saved, rel=0.05)
    assert model.get_input_embeddings().get_parameter("weight") is table
    assert torch.equal(table, before)


def embedding_bytes(model: SpanModel) -> dict[Storage, int]:
    """Return how large a model's table of word embeddings is in each way to store it."""
    rows, columns = model.get_input_embeddings().get_parameter("weight").shape
    return {
        "FP32": 4 * rows * columns,
        "FP16": 2 * rows * columns,
        "INT8": rows * columns + 4 * rows,
    }
