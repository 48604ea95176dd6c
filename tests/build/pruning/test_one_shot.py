"""Pruned copies of models, in every family that can be pruned."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.errors import CheckpointError
from bertqa_build.export import to_onnx, to_openvino
from bertqa_build.families import family_of, model_types
from bertqa_build.model import SpanModel
from bertqa_build.pruning.one_shot import Pruner
from bertqa_build.pruning.sizes import (
    CONFIG_KEY,
    LayerSize,
    Sizes,
    encoder_layers,
    from_config,
    shrink,
)
from tests.support.families import Row
from tests.support.pruning import PRUNED, batches, logits

HEADS = 4


def test_families_with_standard_attention_can_be_pruned() -> None:
    names = {each for each in model_types() if family_of(each).layer_names is not None}
    assert names == {"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"}
    assert names >= {row.model_type for row in PRUNED}


def whole(model: SpanModel) -> LayerSize:
    return LayerSize(HEADS, model.family.neurons(model.model.config))


@pytest.mark.parametrize("row", PRUNED, ids=str)
def test_a_copy_of_the_same_size_answers_alike_and_smaller_ones_answer_and_export(row: Row) -> None:
    model = SpanModel(row.model())
    inputs = batches(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pruner = Pruner(model, inputs)
    full = whole(model)
    layers = len(encoder_layers(model.model, model.family))

    assert torch.equal(logits(pruner.pruned((full,) * layers), inputs[0]), logits(model, inputs[0]))
    assert pruner.loss((full,) * layers) == pytest.approx(0, abs=1e-6)

    sizes = (LayerSize(3, 16), LayerSize(0, 0), LayerSize(2, 8))[:layers]
    pruned = pruner.pruned(sizes)
    assert pruner.loss(sizes) > 0
    assert sum(each.numel() for each in pruned.parameters()) < sum(
        each.numel() for each in model.parameters()
    )
    to_openvino(pruned)  # Each compares its logits with the module's.
    to_onnx(pruned)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert getattr(model.model.config, CONFIG_KEY, None) is None


@pytest.mark.filterwarnings("error:Initializing zero-element tensors")
def test_a_pruned_model_is_read_back_from_its_configuration_and_weights() -> None:
    row = PRUNED[0]
    model = SpanModel(row.model())
    inputs = batches(model)
    sizes: Sizes = (LayerSize(1, 0), LayerSize(0, 24))
    pruned = Pruner(model, inputs).pruned(sizes)

    assert from_config(model.model.config) is None
    assert from_config(pruned.model.config) == sizes
    again = row.model(seed=7)
    shrink(again, family_of(row.model_type), sizes)
    again.load_state_dict(pruned.model.state_dict())
    assert torch.equal(logits(SpanModel(again).eval(), inputs[0]), logits(pruned, inputs[0]))


def test_removing_by_second_order_keeps_more_than_removing_at_random() -> None:
    model = SpanModel(PRUNED[0].model())
    inputs = batches(model, 12)
    pruner = Pruner(model, inputs)
    sizes = (LayerSize(2, 16),) * 2
    ours = pruner.loss(sizes)

    plain = SpanModel(PRUNED[0].model())
    shrink(plain.model, plain.family, sizes)  # It keeps the first ones as they are.
    found = [logits(plain.eval(), each) for each in inputs]
    wanted = [logits(model, each) for each in inputs]
    ours_found = [logits(pruner.pruned(sizes), each) for each in inputs]

    def error(outputs: list[Tensor]) -> float:
        pairs = zip(outputs, wanted, strict=True)
        return float(sum(((one - other) ** 2).sum() for one, other in pairs))

    assert ours > 0
    assert error(ours_found) < 0.5 * error(found)


def test_a_pruned_checkpoint_is_loaded_like_any_other(tmp_path: Path) -> None:
    row = PRUNED[0]
    model = SpanModel(row.model())
    inputs = batches(model)
    sizes: Sizes = (LayerSize(2, 24), LayerSize(0, 0))
    pruned = Pruner(model, inputs).pruned(sizes)
    row.write(tmp_path, pruned.model)

    loaded = SpanModel(load_checkpoint(str(tmp_path), max_seq_len=64).model)

    assert from_config(loaded.model.config) == sizes
    assert torch.equal(logits(loaded, inputs[0]), logits(pruned, inputs[0]))


@pytest.mark.parametrize(
    "stored",
    [
        *({}, [3], "x"),
        {"heads": [1], "neurons": [8]},
        {"heads": [9, 1], "neurons": [8, 8]},
        {"heads": [math.inf, 1], "neurons": [8, 8]},
    ],
)
def test_sizes_that_no_model_has_are_refused(tmp_path: Path, stored: object) -> None:
    row = PRUNED[0]
    row.write(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {CONFIG_KEY: stored}
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError):
        load_checkpoint(str(tmp_path), max_seq_len=64)
