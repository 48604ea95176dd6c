"""Training a pruned model to answer as the unpruned one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from bertqa_build.model import SpanModel
from bertqa_build.pruning.one_shot import Pruner
from bertqa_build.pruning.recovery import RecoveryTrainer, hidden_loss
from bertqa_build.pruning.sizes import LayerSize, encoder_layers
from bertqa_build.recipe import Distillation
from tests.support.families import Row
from tests.support.pruning import PRUNED, batches


def test_hidden_states_that_are_alike_cost_nothing_and_zeros_cost_one() -> None:
    chance = torch.Generator().manual_seed(0)
    taught = [torch.randn(2, 5, 8, generator=chance) for _ in range(3)]
    is_token = torch.ones(2, 5, dtype=torch.bool)
    is_token[1, 3:] = False
    same = [each.clone() for each in taught]
    for each in same:
        each[1, 3:] = 99.0  # padding
    assert float(hidden_loss(same, taught, is_token)) == 0.0
    zeros = [torch.zeros_like(each) for each in taught]
    assert float(hidden_loss(zeros, taught, is_token)) == pytest.approx(1.0)


@pytest.mark.parametrize("row", [PRUNED[0], PRUNED[-1]], ids=str)
def test_training_brings_hidden_states_and_answers_nearer_to_the_teacher_s(
    row: Row, tmp_path: Path
) -> None:
    teacher = SpanModel(row.model())
    inputs = batches(teacher, 8)
    layers = len(encoder_layers(teacher.model, teacher.family))
    sizes = (LayerSize(2, 16), LayerSize(0, 24), LayerSize(1, 8))[:layers]
    pruner = Pruner(teacher, inputs)
    student = pruner.independent(sizes)
    before = pruner.divergence(student)
    windows = [
        {name: each[name][index] for name in each}
        | {"start_positions": torch.tensor(3), "end_positions": torch.tensor(4)}
        for each in inputs
        for index in range(1, 4)
    ]
    trainer = RecoveryTrainer(
        student,
        TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=12,
            per_device_train_batch_size=8,
            learning_rate=3e-3,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            save_strategy="no",
        ),
        teacher=teacher,
        distillation=Distillation(weight=1.0, temperature=2.0),
        hidden=0.5,
        train_dataset=windows,
    )
    trainer.train()
    assert pruner.divergence(student.eval()) < 0.7 * before
