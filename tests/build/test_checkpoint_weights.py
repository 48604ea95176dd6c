import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertForPreTraining,
    BertForSequenceClassification,
    ModernBertForSequenceClassification,
)

from bertqa_build.checkpoint import Checkpoint, load_checkpoint
from bertqa_build.errors import CheckpointError
from tests.support.checkpoints import tiny_bert, write_checkpoint
from tests.support.families import FAMILIES

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
WEIGHTS = "model.safetensors"
PICKLE = "pytorch_model.bin"
QUERY = "bert.encoder.layer.0.attention.self.query.weight"

Tensors = dict[str, Tensor]


class Code:
    """What a pickle runs when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("ran",)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def load(source: Path, *, needs_head: bool = True) -> Checkpoint:
    return load_checkpoint(str(source), max_seq_len=64, needs_head=needs_head)


def refusal(source: Path, *, needs_head: bool = True) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(source, needs_head=needs_head)
    return str(caught.value)


def change(checkpoint: Path, edit: Callable[[Tensors], object]) -> Path:
    tensors = load_file(checkpoint / WEIGHTS)
    edit(tensors)
    save_file(tensors, checkpoint / WEIGHTS, {"format": "pt"})
    return checkpoint


def as_pickle(checkpoint: Path, **others: object) -> Path:
    torch.save({**load_file(checkpoint / WEIGHTS), **others}, checkpoint / PICKLE)
    (checkpoint / WEIGHTS).unlink()
    return checkpoint


def in_shards(checkpoint: Path) -> Path:
    (checkpoint / WEIGHTS).unlink()
    tiny_bert().save_pretrained(checkpoint, max_shard_size="50KB")
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 2
    return checkpoint


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("pack", [as_pickle, in_shards])
def test_weights_come_in_any_file(checkpoint: Path, pack: Callable[[Path], Path]) -> None:
    loaded = load(pack(checkpoint))
    assert same(loaded.model, tiny_bert())
    assert loaded.notes == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_become_fp32(checkpoint: Path, dtype: torch.dtype) -> None:
    tiny = tiny_bert().to(dtype)  # type: ignore[arg-type]
    tiny.save_pretrained(checkpoint)
    loaded = load(checkpoint)
    assert {tensor.dtype for tensor in loaded.model.parameters()} == {torch.float32}
    assert same(loaded.model, tiny.float())
    rounded = ("its float64 tensors were rounded to FP32",) if dtype == torch.float64 else ()
    assert loaded.notes == rounded


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_the_names_of_a_wrapped_model_are_its_own(checkpoint: Path, prefix: str) -> None:
    def wrap(tensors: Tensors) -> None:
        for name in list(tensors):
            tensors[prefix + name] = tensors.pop(name)

    loaded = load(change(checkpoint, wrap))
    assert same(loaded.model, tiny_bert())
    assert loaded.notes == ()


def test_tensors_without_a_place_are_refused_and_named(checkpoint: Path) -> None:
    name = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
    change(checkpoint, lambda tensors: tensors.update({name: torch.zeros(3, 3)}))
    for needs_head in (True, False):
        message = refusal(checkpoint, needs_head=needs_head)
        assert f"has 1 tensor that the BERT model has no place for: {name}." in message
    more = {f"verifier.{number}": torch.zeros(1) for number in range(5)}
    change(checkpoint, lambda tensors: tensors.update(more))
    assert "has 6 tensors that the BERT model has no place for" in refusal(checkpoint)
    assert "verifier.1 and 3 more." in refusal(checkpoint)


def test_what_no_answer_depends_on_is_left_out_and_said(checkpoint: Path) -> None:
    others = {
        "bert.embeddings.position_ids": torch.arange(128)[None],
        "bert.pooler.dense.weight": torch.zeros(32, 32),
        "cls.predictions.bias": torch.zeros(3),
    }
    change(checkpoint, lambda tensors: tensors.update(others))
    loaded = load(checkpoint)
    assert same(loaded.model, tiny_bert())
    assert loaded.notes == ("its heads of other tasks are left out: cls",)


def test_a_pretrained_model_is_for_fine_tuning(tmp_path: Path) -> None:
    config = tiny_bert().config
    source = write_checkpoint(
        tmp_path,
        BertForPreTraining(config),  # type: ignore[no-untyped-call]
    )
    assert "has no question-answering head" in refusal(source)
    assert load(source, needs_head=False).notes == ("its heads of other tasks are left out: cls",)


def test_a_classifier_gets_a_new_head(tmp_path: Path) -> None:
    config = tiny_bert().config
    config.num_labels = 3
    classifier = BertForSequenceClassification(config)  # type: ignore[no-untyped-call]
    source = write_checkpoint(tmp_path, classifier)
    assert "has no question-answering head" in refusal(source)
    loaded = load(source, needs_head=False)
    assert loaded.notes == ("its heads of other tasks are left out: classifier",)
    assert tuple(loaded.model.get_parameter("qa_outputs.weight").shape) == (2, 32)
    assert same(loaded.model.base_model.encoder, classifier.bert.encoder)  # type: ignore[arg-type]
    assert loaded.model.config.num_labels == 2


def test_a_head_of_another_size_is_replaced_by_fine_tuning_only(checkpoint: Path) -> None:
    head = {"qa_outputs.weight": torch.zeros(3, 32), "qa_outputs.bias": torch.zeros(3)}
    change(checkpoint, lambda tensors: tensors.update(head))
    message = refusal(checkpoint)
    assert "no head for questions: its qa_outputs.bias has 3 outputs, not 2" in message
    assert "Add a `finetune:` section to the recipe" in message
    loaded = load(checkpoint, needs_head=False)
    assert "a new head takes the place of its qa_outputs.bias with 3 outputs" in loaded.notes
    assert loaded.model.get_parameter("qa_outputs.weight").any()


def test_a_head_whose_layers_other_tasks_have_too_must_be_named(tmp_path: Path) -> None:
    row = next(row for row in FAMILIES if row.model_type == "modernbert")
    config = row.model().config
    classifier = ModernBertForSequenceClassification(config)  # type: ignore[arg-type]
    source = row.write(tmp_path / "classifier", classifier)
    message = refusal(source)
    assert "its config.json names ModernBertForSequenceClassification, and in ModernBERT" in message
    assert '"architectures": ["ModernBertForQuestionAnswering"]' in message
    load(source, needs_head=False)
    assert same(load(row.write(tmp_path / "whole")).model, row.model())


def test_weights_that_are_not_finite_are_refused(checkpoint: Path) -> None:
    change(checkpoint, lambda tensors: tensors[QUERY][3].fill_(float("nan")))
    assert f"are damaged: {QUERY} has values that are not finite" in refusal(checkpoint)
    change(checkpoint, lambda tensors: tensors[QUERY].fill_(3e38))
    assert "computes values that are not finite" in refusal(checkpoint)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_weights_that_were_quantised_are_refused(checkpoint: Path, dtype: torch.dtype) -> None:
    change(checkpoint, lambda tensors: tensors.update({QUERY: tensors[QUERY].to(dtype)}))
    assert f"has the tensor {QUERY} of type " in refusal(checkpoint)
    as_pickle(checkpoint)
    assert f"has the tensor {QUERY} of type {str(dtype).removeprefix('torch.')}" in (
        refusal(checkpoint)
    )


def test_a_pickle_runs_no_code(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    as_pickle(checkpoint, own=Code())
    assert "contains other things than dense tensors, which are not loaded" in refusal(checkpoint)
    assert not Path("ran").exists()


def test_the_file_of_a_training_is_refused_and_says_what_it_holds(checkpoint: Path) -> None:
    state = load_file(checkpoint / WEIGHTS)
    (checkpoint / WEIGHTS).unlink()
    torch.save({"state_dict": state, "epoch": 3}, checkpoint / PICKLE)
    with pytest.raises(CheckpointError) as caught:
        load(checkpoint)
    assert "contains other things than dense tensors" in str(caught.value)
    assert caught.value.detail == "'state_dict' is not the name of a dense tensor"


def test_tensors_that_are_sparse_or_have_no_names_are_refused(checkpoint: Path) -> None:
    tensors: dict[Any, Tensor] = dict(load_file(checkpoint / WEIGHTS))
    (checkpoint / WEIGHTS).unlink()
    for changes in ({QUERY: tensors[QUERY].to_sparse()}, {3: tensors[QUERY]}):
        torch.save({**tensors, **changes}, checkpoint / PICKLE)
        assert "contains other things than dense tensors" in refusal(checkpoint)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("name", [WEIGHTS, PICKLE])
def test_damaged_weights_are_named(checkpoint: Path, name: str, content: bytes) -> None:
    (checkpoint / WEIGHTS).unlink()
    (checkpoint / name).write_bytes(content)
    message = refusal(checkpoint)
    assert f"{checkpoint / name} is damaged" in message
    assert "Download it again" in message


def test_a_missing_shard_is_named(checkpoint: Path) -> None:
    in_shards(checkpoint)
    first = min(checkpoint.glob("model-*.safetensors"))
    first.unlink()
    assert f"1 is missing: {first.name}. Download it again." in refusal(checkpoint)
    index = checkpoint / f"{WEIGHTS}.index.json"
    shards = '{"metadata": {}, "weight_map": '
    for text in (
        *("{", "[]", '{"weight_map": {"a": "b"}}', "[" * 100_000),
        *(f"{shards}{places}}}" for places in ("3", '{"a": 1}', "{}")),
    ):
        index.write_text(text, encoding="utf-8")
        assert f"{index} is not an index of shards" in refusal(checkpoint)


@pytest.mark.parametrize("name", [WEIGHTS, "config.json"])
def test_a_link_to_no_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    (checkpoint / name).symlink_to("blobs/0")
    message = refusal(checkpoint)
    assert message.startswith(f"{checkpoint / name} cannot be read: No such file or directory. ")
    assert message.endswith("with the files that its links lead to.")


@pytest.mark.parametrize("name", [WEIGHTS, PICKLE, f"{WEIGHTS}.index.json", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_named(checkpoint: Path, name: str) -> None:
    if name != "tokenizer.json":
        (checkpoint / WEIGHTS).unlink()
    (checkpoint / name).write_text(POINTER, encoding="utf-8")
    assert f"{checkpoint / name} is a pointer of Git LFS" in refusal(checkpoint)
    assert "git lfs pull" in refusal(checkpoint)


def test_a_checkpoint_without_weights_of_pytorch_is_refused(checkpoint: Path) -> None:
    (checkpoint / WEIGHTS).rename(checkpoint / "model.fp16.safetensors")
    (checkpoint / "tf_model.h5").touch()
    message = refusal(checkpoint)
    assert "contains neither model.safetensors nor pytorch_model.bin" in message
    assert "It has model.fp16.safetensors, tf_model.h5, which cannot be used" in message


def test_a_model_larger_than_its_tokenizer_is_refused(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path)
    path = source / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: number for word, number in words.items() if number < 2000}
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    assert f"it has 2000 tokens, but the model has {len(words)} embeddings" in refusal(source)


def test_what_was_loaded_can_be_saved_and_loaded_again(tmp_path: Path) -> None:
    first = load(write_checkpoint(tmp_path / "first")).model
    write_checkpoint(tmp_path / "second", first)
    second = load(tmp_path / "second").model
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
