import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.errors import CheckpointError
from bertqa_build.model import SpanModel
from tests.support.checkpoints import tiny_bert, write_adapter, write_checkpoint
from tests.support.families import FAMILIES


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def refusal(source: Path, *, needs_head: bool = False) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(source), max_seq_len=64, needs_head=needs_head)
    return str(caught.value)


def edit(checkpoint: Path, **changes: Any) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        if value is None:
            del config[key]
        else:
            config[key] = value
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_decoder": True}, "is a decoder (is_decoder in its config.json)"),
        ({"add_cross_attention": True}, "is a decoder (add_cross_attention in its config.json)"),
        ({"model_type": "bart", "is_encoder_decoder": True}, "is an encoder-decoder (model_type"),
        ({"model_type": "t5"}, "has the model_type 't5', which cannot be built; albert, bert"),
        ({"model_type": "no_such"}, "has the model_type 'no_such', which cannot be built; albert"),
        ({"model_type": None}, "names no model_type. Add that of its family; albert, bert"),
        ({"model_type": ["bert"]}, "names no model_type"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "was quantised by another library (gptq",
        ),
        ({"quantization_config": "int8"}, "was quantised by another library (unknown"),
        ({"auto_map": {"AutoModel": "own.Model"}}, "brings code of its own (auto_map in its"),
        (
            {"position_embedding_type": "relative_key_query"},
            "has position_embedding_type 'relative_key_query', which cannot be built",
        ),
        ({"hidden_size": "32"}, "is not that of a BERT model: TypeError: Field 'hidden_size'"),
        ({"quantization_config": {}}, "was quantised by another library (unknown"),
        ({"quantization_config": []}, "was quantised by another library (unknown"),
        ({"hidden_size": 30}, "The hidden size (30) is not a multiple of the number"),
        ({"num_attention_heads": 5}, "No BERT model can be made from the config.json"),
        ({"hidden_act": "no_such"}, "'no_such' is not known. Use the file that was written with"),
        ({"hidden_dropout_prob": 2.0}, "has to be between 0 and 1, but got 2.0"),
        ({"pad_token_id": 99_999}, "Padding_idx must be within num_embeddings"),
        ({"max_position_embeddings": 10**9}, "a model of 32,000,993,986 parameters; its weights"),
        ({"hidden_size": 32_000}, "which describes a model of 9,"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": 3}, "lacks 16 tensors of BERT"),
        ({"num_hidden_layers": 1}, "has 16 tensors that the BERT model has no place for"),
        ({"type_vocab_size": 3}, "token_type_embeddings.weight has the shape [2, 32], and BERT"),
    ],
)
def test_a_config_that_is_not_of_the_model_is_refused(
    checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    edit(checkpoint, **changes)
    assert message in refusal(checkpoint)


def test_a_config_that_says_what_is_usual_is_taken(checkpoint: Path) -> None:
    edit(checkpoint, is_decoder=False, position_embedding_type="absolute", auto_map={})
    load_checkpoint(str(checkpoint), max_seq_len=64)


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "mpnet"])
def test_how_a_model_returns_its_outputs_has_no_effect(tmp_path: Path, model_type: str) -> None:
    (row,) = (row for row in FAMILIES if row.model_type == model_type)
    model = row.model()
    row.write(tmp_path, model)
    called: dict[str, Any] = {"return_dict": False, "torchscript": True, "output_attentions": True}
    edit(tmp_path, **called, output_hidden_states=True, chunk_size_feed_forward=7)
    loaded = load_checkpoint(str(tmp_path), max_seq_len=64).model
    inputs = {name: torch.ones(1, 9, dtype=torch.int64) for name in row.inputs}
    with torch.no_grad():
        for one, other in zip(SpanModel(loaded)(**inputs), SpanModel(model)(**inputs), strict=True):
            torch.testing.assert_close(one, other)


def test_positions_that_are_counted_from_no_padding_are_refused(tmp_path: Path) -> None:
    (row,) = (row for row in FAMILIES if row.model_type == "roberta")
    path = row.write(tmp_path) / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), "pad_token_id": None}
    path.write_text(json.dumps(config), encoding="utf-8")
    assert "pad_token_id is null, from which positions are counted" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "its config.json cannot be read"),
        ("[" * 100_000, "its config.json cannot be read"),
        ("[]", "its config.json does not hold an object"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused(checkpoint: Path, text: str, message: str) -> None:
    (checkpoint / "config.json").write_text(text, encoding="utf-8")
    assert message in refusal(checkpoint)
    (checkpoint / "config.json").write_bytes(b"\xff\xfe")
    assert "its config.json cannot be read" in refusal(checkpoint)


def test_the_directory_of_an_adapter_is_refused(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    assert "is the directory of an adapter, not of a checkpoint" in refusal(tmp_path)
    write_checkpoint(tmp_path)
    assert "holds both a checkpoint and an adapter" in refusal(tmp_path)


def test_one_type_of_tokens_is_enough(tmp_path: Path) -> None:
    config = tiny_bert().config
    config.type_vocab_size = 1
    source = write_checkpoint(tmp_path, type(tiny_bert())(config))
    assert load_checkpoint(str(source), max_seq_len=64).model.config.type_vocab_size == 1
    config.type_vocab_size = 0
    source = write_checkpoint(tmp_path, type(tiny_bert())(config))
    assert "cannot run: its config.json does not fit its weights" in refusal(source)
