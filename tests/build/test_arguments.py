from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import EvalPrediction, PreTrainedModel, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from bertqa.evaluation import read_squad
from bertqa_build.arguments import REFUSED, REFUSED_IN_INT8, is_quantized
from bertqa_build.data import TrainingWindow, TrainingWindows, collate, training_windows
from bertqa_build.errors import TrainingError
from bertqa_build.model import SpanModel
from bertqa_build.quantization import quantize
from bertqa_build.recipe import Quantization
from bertqa_build.training import QATrainer
from tests.support.checkpoints import write_squad
from tests.support.families import FAMILIES

ROW = FAMILIES[0]
IN_INT8 = [
    {"gradient_checkpointing": True},
    {"torch_compile": True},
    {"neftune_noise_alpha": 5.0},
]
IN_BOTH: list[dict[str, Any]] = [
    {"bf16_full_eval": True},
    {"fp16_full_eval": True},
    {"push_to_hub": True},
    {"use_liger_kernel": True},
    {"label_names": ["labels"]},
    {"optim": "galore_adamw"},
    {"optim": "adamw_bnb_8bit"},
    {"optim": "adamw_torch_8bit", "optim_args": "block_size=128"},
    {"lr_scheduler_type": "cosine_with_min_lr"},
    {"lr_scheduler_type": "warmup_stable_decay"},
]
FOLLOWED: list[dict[str, Any]] = [
    {"optim": "adafactor", "lr_scheduler_type": "cosine"},
    {"bf16": True, "max_grad_norm": 0.1},
    {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1},
    {"train_sampling_strategy": "group_by_length", "full_determinism": True},
]


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> TrainingWindows:
    squad = write_squad(tmp_path_factory.mktemp("data") / "squad.json", copies=2)
    return training_windows(
        list(read_squad(squad)),
        ROW.tokenizer_json(),
        max_seq_len=96,
        doc_stride=16,
        max_question_len=32,
        seed=0,
    )


@pytest.fixture(scope="module")
def quantized(windows: TrainingWindows) -> SpanModel:
    return quantize(ROW.model(), windows, Quantization(calibration_windows=2))


@pytest.fixture
def student(quantized: SpanModel) -> SpanModel:
    return deepcopy(quantized)


def trainer_of(
    model: PreTrainedModel | SpanModel,
    windows: TrainingWindows,
    directory: Path,
    *,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> QATrainer:
    usual: dict[str, Any] = {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(output_dir=str(directory), **{**usual, **settings})
    return QATrainer(model, arguments, train_dataset=windows, **(options or {}))


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> list[str]:
    return [
        name for name, each in model.state_dict().items() if not torch.equal(each, before[name])
    ]


def id_of(settings: dict[str, Any]) -> str:
    return "-".join(
        str(value if name.startswith(("op", "lr")) else name) for name, value in settings.items()
    )


def test_the_documentation_has_every_argument() -> None:
    text = (Path(__file__).parents[2] / "docs" / "build.md").read_text(encoding="utf-8")
    section = text.partition("### Arguments")[2].partition("### ")[0]
    listed = {
        name
        for row in section.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert listed == {field.name for field in fields(TrainingArguments)}


@pytest.mark.parametrize("settings", IN_INT8 + IN_BOTH, ids=id_of)
def test_what_an_int8_training_cannot_follow_is_refused_before_it(
    quantized: SpanModel, windows: TrainingWindows, tmp_path: Path, settings: dict[str, Any]
) -> None:
    name, value = next(iter(settings.items()))
    before = weights(quantized)
    with pytest.raises(TrainingError, match=f"cannot .*{name}[: ]") as caught:
        trainer_of(quantized, windows, tmp_path / "out", **settings)
    assert name in {*REFUSED, *REFUSED_IN_INT8} or str(value) in str(caught.value)
    assert not changed(quantized, before)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("settings", IN_BOTH[:4], ids=id_of)
def test_what_no_training_can_follow_is_refused(
    windows: TrainingWindows, tmp_path: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(TrainingError, match="A span model cannot be trained with"):
        trainer_of(ROW.model(), windows, tmp_path, **settings)


@pytest.mark.parametrize("optim", ["adamw_torch_4bit", "adamw_torch_8bit"])
def test_an_optimizer_whose_package_is_missing_is_refused(
    windows: TrainingWindows, tmp_path: Path, optim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.trainer_optimizer.is_torchao_available", lambda: False)
    with pytest.raises(TrainingError, match=f"cannot begin with optim {optim} .*install torchao"):
        trainer_of(ROW.model(), windows, tmp_path, optim=optim)


@pytest.mark.parametrize("settings", FOLLOWED, ids=id_of)
def test_what_trains_fp32_trains_int8(
    student: SpanModel, windows: TrainingWindows, tmp_path: Path, settings: dict[str, Any]
) -> None:
    assert is_quantized(student)
    before = weights(student)
    trainer_of(student, windows, tmp_path, **settings).train()
    names = changed(student, before)
    assert [name for name in names if "attention.self.query.weight" in name]
    assert [name for name in names if "__nncf_hooks" in name]
    floats = [tensor for tensor in student.parameters() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float32}
    torch.use_deterministic_algorithms(False)


def test_an_fp32_training_checkpoints_its_layers(windows: TrainingWindows, tmp_path: Path) -> None:
    plain, spared = ROW.model(), ROW.model()
    trainer_of(plain, windows, tmp_path).train()
    trainer_of(
        spared, windows, tmp_path, gradient_checkpointing=True, neftune_noise_alpha=None
    ).train()
    assert spared.is_gradient_checkpointing
    for name, tensor in spared.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name])


def test_gradients_that_are_added_up_are_those_of_the_whole_batch(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    one, other = ROW.model(), ROW.model()
    common: dict[str, Any] = {
        "optim": "sgd",
        "train_sampling_strategy": "sequential",
        "max_steps": 1,
    }
    trainer_of(one, windows, tmp_path, per_device_train_batch_size=4, **common).train()
    trainer_of(other, windows, tmp_path, gradient_accumulation_steps=2, **common).train()
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor)


def test_smoothed_labels_fall_on_the_tokens_of_the_window(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    model = SpanModel(ROW.model())
    trainer = trainer_of(model, windows, tmp_path, label_smoothing_factor=0.2)
    batch = collate([windows[0]])
    tokens = int(batch["attention_mask"].sum())
    with torch.no_grad():
        loss = float(trainer.compute_loss(model, batch))
        logits = model(**{name: batch[name] for name in model.inputs})
    expected = [
        functional.cross_entropy(each[:, :tokens], batch[name], label_smoothing=0.2)
        for each, name in zip(logits, ("start_positions", "end_positions"), strict=True)
    ]
    assert loss == pytest.approx(float(sum(expected)) / 2, rel=1e-5)


def test_the_best_model_is_there_at_the_end(
    student: SpanModel, windows: TrainingWindows, tmp_path: Path
) -> None:
    scores = iter([0.1, 0.9, 0.2])
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def metrics(predicted: EvalPrediction) -> dict[str, float]:
        start, end = np.asarray(predicted.predictions)
        assert np.shape(start) == np.shape(end) == (len(windows), np.shape(start)[1])
        return {"exact": next(scores)}

    class Keep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen[state.global_step] = weights(kwargs["model"])

    trainer = trainer_of(
        student,
        windows,
        tmp_path,
        options={"eval_dataset": windows, "compute_metrics": metrics, "callbacks": [Keep()]},
        max_steps=3,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        metric_for_best_model="exact",
        load_best_model_at_end=True,
    )
    trainer.train()
    assert trainer.state.best_metric == 0.9
    assert not changed(student, seen[2])
    assert changed(student, seen[3])


def test_what_reports_a_training_sees_the_losses_and_the_configuration(
    windows: TrainingWindows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: list[dict[str, float]] = []

    class Recorder(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            assert kwargs["model"].config.to_dict()["model_type"] == "bert"

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logs.append(kwargs["logs"])

    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Recorder)
    trainer_of(ROW.model(), windows, tmp_path, report_to="tensorboard", logging_steps=1).train()
    assert [entry["loss"] > 0 for entry in logs if "loss" in entry] == [True, True]


def test_a_loss_of_one_s_own_is_refused(windows: TrainingWindows, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Override `compute_loss` in a subclass"):
        trainer_of(ROW.model(), windows, tmp_path, options={"compute_loss_func": max})


def test_the_order_follows_the_seed_of_the_data_and_the_strategy(
    windows: TrainingWindows, tmp_path: Path
) -> None:
    def order(**settings: Any) -> list[int]:
        return list(trainer_of(ROW.model(), windows, tmp_path, **settings)._get_train_sampler())

    assert order() == order() == list(windows.sampler(2))
    assert order(data_seed=3) == list(windows.sampler(2, 3)) != order()
    assert order(train_sampling_strategy="sequential") == list(range(len(windows)))


def test_a_data_loader_that_stays_draws_the_answers_of_each_epoch() -> None:
    ids = np.arange(8, dtype=np.int32)
    window = TrainingWindow(ids, ids, tuple((each, each) for each in range(8)))
    windows = TrainingWindows([window] * 4, seed=0)
    loader = DataLoader(
        windows, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=collate
    )
    for epoch in range(3):
        windows.set_epoch(epoch)
        expected = [windows[index]["start_positions"] for index in range(4)]
        assert next(iter(loader))["start_positions"].tolist() == expected
