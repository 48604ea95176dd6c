import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from bertqa_build import stages
from bertqa_build.checkpoint import Checkpoint
from bertqa_build.recipe import (
    Data,
    Model,
    Quantization,
    QuantizationAwareTraining,
    Recipe,
    Training,
)
from bertqa_build.recipe_data import RecipeData
from bertqa_build.stages import appearing, finetune, quantize_and_train
from tests.support.checkpoints import tiny_bert, write_squad
from tests.support.models import tokenizer_json


class InterruptAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


class NoStep(TrainerCallback):
    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise AssertionError("trained again")


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    write_squad(tmp_path / "squad.json", copies=4)
    lengths: dict[str, Any] = {"max_seq_len": 96, "doc_stride": 16}
    steps: dict[str, Any] = {
        "learning_rate": 1e-3,
        "batch_size": 4,
        "checkpoint_steps": 2,
        **lengths,
    }
    return Recipe(
        name="x",
        source="y",
        model=Model(max_question_len=32, **lengths),
        data=Data(train=["squad.json"], evaluation="squad.json"),
        finetune=Training(**steps),
        quantization=Quantization(calibration_windows=2),
        qat=QuantizationAwareTraining(**steps),
    ).in_directory(tmp_path)


def checkpoint() -> Checkpoint:
    return Checkpoint(tiny_bert(), tokenizer_json(), "tiny")


def same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in one.state_dict().items())


def test_both_trainings_can_be_interrupted_and_end_the_same(recipe: Recipe, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finetuned = finetune(recipe, RecipeData(recipe), checkpoint(), whole)
    expected = quantize_and_train(recipe, RecipeData(recipe), checkpoint(), finetuned, whole)

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, RecipeData(recipe), checkpoint(), cut, [InterruptAt(3)])
    again = finetune(recipe, RecipeData(recipe), checkpoint(), cut)
    assert same(again, finetuned)
    assert not same(again, tiny_bert())
    with pytest.raises(KeyboardInterrupt):
        quantize_and_train(recipe, RecipeData(recipe), checkpoint(), again, cut, [InterruptAt(3)])
    assert not (cut / "pytorch").exists()
    assert same(quantize_and_train(recipe, RecipeData(recipe), checkpoint(), again, cut), expected)


def test_what_is_finished_is_not_made_again(recipe: Recipe, tmp_path: Path) -> None:
    finetuned = finetune(recipe, RecipeData(recipe), checkpoint(), tmp_path)
    quantized = quantize_and_train(recipe, RecipeData(recipe), checkpoint(), finetuned, tmp_path)
    assert same(finetune(recipe, RecipeData(recipe), checkpoint(), tmp_path, [NoStep()]), finetuned)
    again = quantize_and_train(
        recipe, RecipeData(recipe), checkpoint(), finetuned, tmp_path, [NoStep()]
    )
    assert same(again, quantized)


def test_without_training_the_calibrated_model_is_the_result(
    recipe: Recipe, tmp_path: Path
) -> None:
    post_training = recipe.model_copy(update={"qat": None}).in_directory(tmp_path)
    made = quantize_and_train(
        post_training,
        RecipeData(post_training),
        checkpoint(),
        tiny_bert(),
        tmp_path / "a",
        [NoStep()],
    )
    trained = quantize_and_train(
        recipe, RecipeData(recipe), checkpoint(), tiny_bert(), tmp_path / "b"
    )
    shutil.rmtree(tmp_path / "b" / "pytorch")
    (tmp_path / "b" / "calibrated").rename(tmp_path / "b" / "pytorch")
    assert same(
        quantize_and_train(recipe, RecipeData(recipe), checkpoint(), tiny_bert(), tmp_path / "b"),
        made,
    )
    assert not same(trained, made)


def test_what_appears_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, staged = tmp_path / "made", tmp_path / ".made"
    synced: list[tuple[Path, bool]] = []
    monkeypatch.setattr(stages, "sync", lambda path: synced.append((path, directory.exists())))
    with appearing(directory):
        (staged / "inner").mkdir()
        (staged / "inner" / "file").write_text("text", encoding="utf-8")
    before = {path for path, is_there in synced if not is_there}
    assert before == {staged, staged / "inner", staged / "inner" / "file"}
    assert synced[-1] == (tmp_path, True)
