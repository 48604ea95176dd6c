from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from nncf.common.graph.patterns.patterns import IgnoredPatternNames
from nncf.torch.quantization.ignored_patterns import PT_IGNORED_PATTERNS
from torch import Tensor, nn

from bertqa.errors import DataError
from bertqa.evaluation import read_squad
from bertqa_build.attention_products import both_quantized
from bertqa_build.data import TrainingWindows, collate, training_windows
from bertqa_build.errors import CheckpointError, RecipeError
from bertqa_build.export import to_openvino
from bertqa_build.graph import (
    ATTENTION,
    PROBABILITIES_VALUES,
    QUERIES_KEYS,
    is_quantizer,
    labels,
    operands,
    origin,
    products,
)
from bertqa_build.model import SpanModel
from bertqa_build.quantization import (
    load_quantized,
    quantize,
    save_quantized,
)
from bertqa_build.recipe import Quantization, Training
from bertqa_build.training import QATrainer, freeze_embeddings, train, training_arguments
from tests.support.checkpoints import tiny_bert, write_squad
from tests.support.families import FAMILIES
from tests.support.models import tokenizer_json

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
SETTINGS = Quantization(calibration_windows=4)


def windows_of(directory: Path, tokenizer: str) -> TrainingWindows:
    squad = write_squad(directory / "squad.json", copies=2)
    return training_windows(
        list(read_squad(squad)),
        tokenizer,
        max_seq_len=96,
        doc_stride=16,
        max_question_len=32,
        seed=0,
    )


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> TrainingWindows:
    return windows_of(tmp_path_factory.mktemp("data"), tokenizer_json())


@pytest.fixture(scope="module")
def quantized(windows: TrainingWindows) -> SpanModel:
    return quantize(tiny_bert(), windows, SETTINGS)


def logits(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        start, end = model(**{name: batch[name] for name in INPUTS})
    return torch.stack([start, end])


def quantizers(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Quantizer")
    ]


def weights(model: nn.Module) -> list[str]:
    """Return the products whose weights are quantised, by NNCF's names, in their order."""
    found = [name.partition(".pre_hooks.model/") for name in quantizers(model)]
    return [name.partition("__")[0] for _, is_weight, name in found if is_weight]


def attention_products(model: SpanModel) -> dict[str, int]:
    """Count the products of attention both of whose inputs are quantised."""
    graph = to_openvino(model, quantized=True)
    label_of = labels(graph)
    found: Counter[str] = Counter()
    for product in products(graph):
        is_fused = product.get_type_name() == ATTENTION
        label = label_of[product.get_friendly_name()]
        part = QUERIES_KEYS if is_fused else label.partition(" (")[2].removesuffix(")")
        if part and all(is_quantizer(origin(port)) for port in operands(product)[:2]):
            found[part] += 1
    return found


def test_the_copy_is_quantised_and_the_model_is_not(
    windows: TrainingWindows, quantized: SpanModel
) -> None:
    model = tiny_bert()
    batch = collate([windows[0], windows[1]])
    before = logits(SpanModel(model), batch)
    made = quantize(model, windows, SETTINGS)
    assert torch.equal(logits(SpanModel(model), batch), before)
    assert not quantizers(model)
    after = logits(made, batch)
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, before, atol=0.1, rtol=0.1)
    for part in ("query", "key", "value", "output/dense", "intermediate", "word_embeddings"):
        assert [name for name in quantizers(made) if part in name], part


def test_padding_changes_nothing_and_makes_no_nan(
    windows: TrainingWindows, quantized: SpanModel
) -> None:
    window = windows[0]
    tokens = len(window["input_ids"])
    alone = {name: torch.as_tensor(window[name], dtype=torch.int64)[None] for name in INPUTS}
    padded = {
        name: nn.functional.pad(torch.cat([tensor, tensor]), (0, 40))
        for name, tensor in alone.items()
    }
    inside = logits(quantized, padded)[:, :, :tokens]
    assert inside.isfinite().all()
    for row in range(2):
        torch.testing.assert_close(inside[:, row], logits(quantized, alone)[:, 0])


def test_what_is_written_is_read_back(
    windows: TrainingWindows, quantized: SpanModel, tmp_path: Path
) -> None:
    save_quantized(quantized, tmp_path, tokenizer_json())
    loaded = load_quantized(tmp_path)
    batch = collate([windows[0], windows[1]])
    assert torch.equal(logits(loaded, batch), logits(quantized, batch))
    assert quantizers(loaded) == quantizers(quantized)
    assert not loaded.training
    assert (tmp_path / "tokenizer.json").read_text(encoding="utf-8") == tokenizer_json()


def test_what_is_read_back_trains_on(
    windows: TrainingWindows, quantized: SpanModel, tmp_path: Path
) -> None:
    save_quantized(quantized, tmp_path / "before", tokenizer_json())
    student = load_quantized(tmp_path / "before")
    freeze_embeddings(student)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    settings = Training(learning_rate=1e-2, batch_size=4, max_seq_len=96, doc_stride=16)
    trainer = QATrainer(
        student,
        training_arguments(settings, tmp_path / "training", seed=0),
        teacher=tiny_bert(),
        train_dataset=windows,
    )
    train(trainer)
    changed = {
        name
        for name, tensor in student.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert [name for name in changed if "attention.self.query.weight" in name]
    assert [name for name in changed if "__nncf_hooks" in name]
    assert not [name for name in changed if "embeddings" in name]

    save_quantized(student, tmp_path / "after", tokenizer_json())
    batch = collate([windows[0], windows[1]])
    student.eval()
    assert torch.equal(logits(load_quantized(tmp_path / "after"), batch), logits(student, batch))


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        (".*qa_outputs.*", ["qa_outputs/linear/0"]),
        ("qa_outputs", ["qa_outputs/linear/0"]),
        ("encoder.layer.1.output.dense", ["bert/encoder/output/dense/linear/1"]),
        (
            r"layer\.1\..*output\.dense$",
            ["bert/encoder/attention/output/dense/linear/1", "bert/encoder/output/dense/linear/1"],
        ),
    ],
)
def test_what_should_stay_in_floating_point_does(
    windows: TrainingWindows, quantized: SpanModel, pattern: str, kept: list[str]
) -> None:
    settings = Quantization(calibration_windows=1, keep_floating_point=[pattern])
    made = quantize(tiny_bert(), windows, settings)

    assert [name for name in weights(quantized) if name not in weights(made)] == kept


def test_a_module_in_floating_point_leaves_the_layers_below_it_as_they_are(
    windows: TrainingWindows, quantized: SpanModel
) -> None:
    layer = "encoder.layer.0.attention.self"
    settings = Quantization(calibration_windows=1, keep_floating_point=[layer])
    made = quantize(tiny_bert(), windows, settings)

    assert weights(made) == weights(quantized)
    assert len(quantizers(made)) < len(quantizers(quantized))


def test_both_products_of_attention_are_quantised_and_each_can_be_left_out(
    windows: TrainingWindows, quantized: SpanModel
) -> None:
    layers = tiny_bert().config.num_hidden_layers
    first, second = QUERIES_KEYS, PROBABILITIES_VALUES
    assert attention_products(quantized) == {first: layers, second: layers}

    for part, other in ((first, second), (second, first)):
        layer = f"encoder.layer.0.attention.self ({part})"
        settings = Quantization(calibration_windows=1, keep_floating_point=[layer])
        made = attention_products(quantize(tiny_bert(), windows, settings))
        assert made == {part: layers - 1, other: layers}
    settings = Quantization(calibration_windows=1, keep_floating_point=[second])
    assert attention_products(quantize(tiny_bert(), windows, settings)) == {first: layers}


def test_what_nncf_leaves_out_by_itself_is_as_before_afterwards() -> None:
    with pytest.raises(ZeroDivisionError), both_quantized():
        raise ZeroDivisionError
    assert IgnoredPatternNames.MULTIHEAD_ATTENTION_OUTPUT in PT_IGNORED_PATTERNS.registry_dict


def test_threads_quantise_in_turn(windows: TrainingWindows) -> None:
    settings = Quantization(calibration_windows=1)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: quantize(tiny_bert(), windows, settings), range(2)))
    assert quantizers(made[0]) == quantizers(made[1])
    assert attention_products(made[0]) == attention_products(made[1])


def test_a_layer_that_is_not_there_is_refused(windows: TrainingWindows) -> None:
    # NNCF finds weights, which it does not quantise by themselves, by such a name too.
    for pattern in ("layer.7.output", r"layer\.0\..*\.weight$"):
        settings = Quantization(calibration_windows=1, keep_floating_point=[pattern])
        with pytest.raises(
            RecipeError, match=r"No layer of the model is called .*There are (encoder|embeddings)"
        ):
            quantize(tiny_bert(), windows, settings)


def test_the_correction_of_biases_can_be_left_out(
    windows: TrainingWindows, quantized: SpanModel
) -> None:
    made = quantize(
        tiny_bert(), windows, Quantization(calibration_windows=4, fast_bias_correction=False)
    )

    assert quantizers(made) == quantizers(quantized)


def test_an_empty_calibration_set_is_refused() -> None:
    nothing: list[dict[str, Any]] = []
    with pytest.raises(DataError, match="The calibration set is empty"):
        quantize(tiny_bert(), nothing)


@pytest.mark.parametrize("name", ["model.safetensors", "nncf.json", "config.json"])
def test_a_directory_that_is_not_whole_is_refused(
    quantized: SpanModel, tmp_path: Path, name: str
) -> None:
    save_quantized(quantized, tmp_path, tokenizer_json())
    (tmp_path / name).write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="does not contain a complete quantised model"):
        load_quantized(tmp_path)


def test_what_a_family_needs_in_floating_point_stays_there_unless_a_recipe_says_otherwise(
    tmp_path: Path,
) -> None:
    (row,) = [row for row in FAMILIES if row.model_type == "mpnet"]
    windows = windows_of(tmp_path, row.tokenizer_json())
    everything = Quantization(calibration_windows=1, keep_floating_point=[])
    all_of_it = quantizers(quantize(row.model(), windows, everything))
    default = quantizers(quantize(row.model(), windows, Quantization(calibration_windows=1)))
    kept = {name for name in all_of_it if "output/dense" in name}
    assert kept
    assert not kept & set(default)
    assert len(default) == len(all_of_it) - 2 * row.model().config.num_hidden_layers
