import json
import math
from collections import namedtuple
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from torch.nn import functional
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)

from bertqa.errors import DataError
from bertqa.evaluation import read_squad
from bertqa_build.data import TrainingWindows, collate, training_windows
from bertqa_build.errors import TrainingError
from bertqa_build.model import SpanModel
from bertqa_build.recipe import Distillation, Training
from bertqa_build.training import (
    QATrainer,
    bf16_is_faster,
    distillation_loss,
    freeze_embeddings,
    last_checkpoint,
    train,
    training_arguments,
)
from tests.support.checkpoints import tiny_bert, write_squad
from tests.support.families import FAMILIES
from tests.support.models import tokenizer_json

SETTINGS = Training(
    epochs=2,
    learning_rate=1e-2,
    warmup_steps=2,
    batch_size=4,
    max_seq_len=96,
    doc_stride=16,
    checkpoint_steps=5,
)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> TrainingWindows:
    squad = write_squad(tmp_path_factory.mktemp("data") / "squad.json", copies=10)
    return training_windows(
        list(read_squad(squad)),
        tokenizer_json(),
        max_seq_len=SETTINGS.max_seq_len,
        doc_stride=SETTINGS.doc_stride,
        max_question_len=32,
        seed=0,
    )


class InterruptAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def trainer_of(
    windows: TrainingWindows,
    directory: Path,
    model: PreTrainedModel | SpanModel | None = None,
    **options: Any,
) -> QATrainer:
    arguments = training_arguments(SETTINGS, directory, seed=0)
    return QATrainer(model or tiny_bert(), arguments, train_dataset=windows, **options)


def weights(trainer: QATrainer) -> dict[str, torch.Tensor]:
    assert trainer.model is not None
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_an_interrupted_training_ends_as_one_that_was_not(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    whole = trainer_of(windows, tmp_path / "whole")
    train(whole)
    assert whole.state.global_step == 20

    directory = tmp_path / "interrupted"
    for step in (8, 18):  # in the first epoch, and in the second
        with pytest.raises(KeyboardInterrupt):
            train(trainer_of(windows, directory, callbacks=[InterruptAt(step)]))
    found = last_checkpoint(directory)
    assert found is not None
    assert found.name == "checkpoint-15"
    resumed = trainer_of(windows, directory)
    train(resumed)

    expected = weights(whole)
    for name, tensor in weights(resumed).items():
        assert torch.equal(tensor, expected[name]), name


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, state in ((5, '{"global_step": 5}'), (20, '{"global'), (100, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state, encoding="utf-8")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"


def test_training_learns(windows: TrainingWindows, tmp_path: Path) -> None:
    trainer = trainer_of(windows, tmp_path)
    train(trainer)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]


def test_a_loss_that_is_not_a_number_stops_the_training_at_once(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    class Break(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 6:
                with torch.no_grad():
                    kwargs["model"].model.qa_outputs.bias.fill_(math.nan)

    with pytest.raises(TrainingError, match="The loss became nan at step 7 of 20"):
        train(trainer_of(windows, tmp_path, callbacks=[Break()]))
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-5"


def test_a_disk_without_room_is_noticed_before_training(
    windows: TrainingWindows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**30, 2**30, 2**20))
    trainer = trainer_of(windows, tmp_path)
    with pytest.raises(TrainingError, match=r"has 1 MiB of room, but .* take \d+ MiB"):
        train(trainer)
    assert trainer.state.global_step == 0


def test_frozen_embeddings_stay(windows: TrainingWindows, tmp_path: Path) -> None:
    model = tiny_bert()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    freeze_embeddings(model)
    train(trainer_of(windows, tmp_path, model))
    changed = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed
    assert not [name for name in changed if "embeddings" in name]


def test_the_loss_is_the_weighted_sum_of_answers_and_teacher(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    student, teacher = tiny_bert(0), tiny_bert(1)

    def loss(weight: float, taught: PreTrainedModel | None) -> float:
        trainer = trainer_of(
            windows,
            tmp_path,
            student,
            teacher=taught,
            distillation=Distillation(weight=weight, temperature=3.0),
        )
        batch = next(iter(trainer.get_train_dataloader()))
        with torch.no_grad(), trainer.accelerator.autocast():
            return float(trainer.compute_loss(SpanModel(student), batch))

    answers = loss(0.0, teacher)
    assert answers == pytest.approx(loss(0.7, None))
    divergence = loss(1.0, teacher)
    assert divergence > 0
    assert loss(0.7, teacher) == pytest.approx(0.3 * answers + 0.7 * divergence, rel=1e-5)
    assert loss(1.0, student) == pytest.approx(0, abs=1e-6)


def test_the_distillation_loss_is_a_divergence_at_a_temperature() -> None:
    ours, theirs = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[2.0, 0.5, 1.0]])
    p, q = (functional.softmax(logits / 2.0, dim=-1) for logits in (theirs, ours))
    expected = 4.0 * (p * (p / q).log()).sum()
    loss = distillation_loss([ours, ours], [theirs, theirs], 2.0)
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_padding_has_no_share_in_the_loss(windows: TrainingWindows, tmp_path: Path) -> None:
    trainer = trainer_of(windows, tmp_path, tiny_bert(0), teacher=tiny_bert(1))
    batch = next(iter(trainer.get_train_dataloader()))
    padded = {
        name: functional.pad(tensor, (0, 24)) if tensor.ndim == 2 else tensor
        for name, tensor in batch.items()
    }
    assert trainer.model is not None
    with torch.no_grad():
        loss, more = (float(trainer.compute_loss(trainer.model, each)) for each in (batch, padded))
    assert more == pytest.approx(loss, rel=1e-5)


def test_positions_and_types_are_those_of_transformers(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    batch = collate([windows[0]] * 4)
    del batch["token_type_ids"]
    width = len(windows[0]["input_ids"])
    for name in ("input_ids", "attention_mask"):
        batch[name] = batch[name][:, :width]
    batch["start_positions"] = torch.tensor([5, -1, width + 300, 7])[:, None]
    batch["end_positions"] = torch.tensor([6, -100, width, 9])[:, None]
    model = tiny_bert()
    trainer = trainer_of(windows, tmp_path, model)
    with torch.no_grad():
        expected = model(**batch).loss
        assert torch.isclose(trainer.compute_loss(SpanModel(model), batch), expected, atol=1e-4)
        none = {name: torch.full((4,), width) for name in ("start_positions", "end_positions")}
        assert trainer.compute_loss(SpanModel(model), {**batch, **none}) == 0
    del batch["attention_mask"]
    with pytest.raises(DataError, match="have no attention_mask; a BERT model needs input_ids"):
        trainer.compute_loss(SpanModel(model), batch)


def test_the_teacher_is_left_alone(windows: TrainingWindows, tmp_path: Path) -> None:
    teacher = tiny_bert(1).train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    trainer = trainer_of(windows, tmp_path, teacher=teacher)
    train(trainer)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    rates = {module.p for module in teacher.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.1}


def test_a_teacher_of_another_family_sees_the_inputs_of_its_own(tmp_path: Path) -> None:
    student = next(row for row in FAMILIES if row.model_type == "distilbert").model()
    row = {
        "input_ids": [2, 7, 9, 3, 11, 12, 3],
        "attention_mask": [1] * 7,
        "token_type_ids": [0, 0, 0, 0, 1, 1, 1],
        "start_positions": 4,
        "end_positions": 5,
    }
    teacher = tiny_bert()
    trainer = QATrainer(
        student,
        TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[]),
        train_dataset=Dataset.from_list([row]),
        teacher=teacher,
        distillation=Distillation(weight=1.0, temperature=2.0),
        data_collator=default_data_collator,
    )
    (batch,) = trainer.get_train_dataloader()
    with torch.no_grad():
        loss = trainer.compute_loss(SpanModel(student), batch)
        inputs = {name: torch.tensor([row[name]]) for name in list(row)[:3]}
        taught = SpanModel(teacher)(**inputs)
        del inputs["token_type_ids"]
        assert torch.isclose(loss, distillation_loss(SpanModel(student)(**inputs), taught, 2.0))


def test_it_takes_the_place_of_a_trainer_in_a_users_pipeline(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    rows = [{**windows[index], "id": str(index)} for index in range(8)]
    model = tiny_bert()
    before = model.qa_outputs.weight.clone()
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, use_cpu=True, report_to=[], save_strategy="no"
    )
    trainer = QATrainer(model, arguments, train_dataset=Dataset.from_list(rows))
    trainer.train()
    assert not torch.equal(model.qa_outputs.weight, before)
    metrics: dict[str, float] = trainer.evaluate(Dataset.from_list(rows))
    assert metrics["eval_loss"] > 0


def test_dropout_is_off(windows: TrainingWindows, tmp_path: Path) -> None:
    model = tiny_bert()
    trainer_of(windows, tmp_path, model)
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.0}


def test_the_loss_and_the_steps_are_reported(windows: TrainingWindows, tmp_path: Path) -> None:
    train(trainer_of(windows, tmp_path))
    found = last_checkpoint(tmp_path)
    assert found is not None
    state = json.loads((found / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["max_steps"] == 20
    assert all(math.isfinite(entry["loss"]) for entry in state["log_history"] if "loss" in entry)


@pytest.mark.parametrize(
    ("has_it", "fp32", "bf16", "is_faster"),
    [(True, 2.0, 1.0, True), (True, 1.0, 2.0, False), (False, 2.0, 1.0, False)],
)
def test_a_training_takes_bf16_where_it_is_faster_and_not_where_the_cpu_only_has_it(
    has_it: bool, fp32: float, bf16: float, is_faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = accumulate(cycle((0.0, fp32, 0.0, bf16)))
    monkeypatch.setattr("bertqa_build.training.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_it})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bf16_is_faster.cache_clear()
    try:
        assert bf16_is_faster() is is_faster
    finally:
        bf16_is_faster.cache_clear()
