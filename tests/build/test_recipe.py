import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from bertqa_build.errors import RecipeError
from bertqa_build.pruning_recipe import Pruning, PruningDistillation, PruningPlace
from bertqa_build.recipe import (
    Data,
    Distillation,
    Gate,
    HubDataset,
    Model,
    Quantization,
    QuantizationAwareTraining,
    Recipe,
    Training,
    load_recipe,
)

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "build" / "recipes").glob("*.yaml"))
DOCUMENTATION = ROOT / "docs" / "build.md"
MINIMAL = "name: x\nsource: y\ndata: {train: [a.json], evaluation: b.json}\n"


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_six_recipes_ship() -> None:
    assert [path.stem for path in RECIPES] == [
        *("bert-base", "bert-large", "demo"),
        *("minilm-pruned", "minilm", "ptq"),
    ]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_right(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert (recipe.qat is None) == (recipe.name == "ptq")


def test_the_demo_brings_its_files_along() -> None:
    recipe = load_recipe(next(path for path in RECIPES if path.stem == "demo"))
    assert recipe.adapter_path is not None
    assert (recipe.adapter_path / "adapter_config.json").is_file()
    for source in (*recipe.data.train, recipe.data.evaluation):
        assert isinstance(source, str)
        assert recipe.address(source).path.is_file()


def test_paths_start_from_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(MINIMAL + "adapter: adapter\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(Path("recipes/recipe.yaml"), ["data.directory=../data"])
    monkeypatch.chdir("/")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.json").touch()
    assert recipe.address("a.json").path == folder / "../data/a.json"
    assert recipe.adapter_path == folder / "adapter"


def test_an_override_wins_and_may_make_its_section(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL + "seed: 1\nqat: {learning_rate: 1e-5}\n", encoding="utf-8")
    recipe = load_recipe(path, ["seed=7", "finetune.learning_rate=2e-5", "qat=null"])
    assert recipe.seed == 7
    assert recipe.finetune is not None
    assert recipe.finetune.learning_rate == 2e-5
    assert recipe.qat is None


def test_calibration_falls_back_on_the_training_data(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert load_recipe(path).calibration == ["a.json"]
    recipe = load_recipe(path, ["data.calibration=[{dataset: some/set, split: train}]"])
    assert recipe.calibration == [HubDataset(dataset="some/set", split="train")]


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (MINIMAL + "sed: 3\n", 4, "sed is not a key of a recipe. Did you mean seed?"),
        (MINIMAL + "seed: many\n", 4, "seed is 'many': input should be a valid integer"),
        (MINIMAL + "gate:\n\n  max_f1_drop: -3\n", 6, "gate.max_f1_drop is -3"),
        # Limits that no version can meet.
        (MINIMAL + "gate: {min_f1: 101}\n", 4, "gate.min_f1 is 101"),
        (MINIMAL + "gate: {min_exact_match: 100.5}\n", 4, "gate.min_exact_match is 100.5"),
        (MINIMAL + "gate: {min_f1_ratio: 1.6}\n", 4, "gate.min_f1_ratio is 1.6"),
        (MINIMAL + "gate: {max_latency_ratio: 0}\n", 4, "gate.max_latency_ratio is 0"),
        (
            MINIMAL + "gate: {min_f1: 90, min_f1_ratio: 1.2}\n",
            1,
            "no INT8 version can pass the gate",
        ),
        (MINIMAL + "precision: int4\n", 4, "precision is 'int4': input should be 'int8' or 'fp32'"),
        (
            "name: x\nsource: y\ndata: {train: [a.json]}\n",
            3,
            "name the data to evaluate on in evaluation, or else in held_out the share of train",
        ),
        (MINIMAL.replace("}", ", held_out: 0.1}"), 3, "name the data to evaluate on in evaluation"),
        (MINIMAL.replace("evaluation: b.json", "held_out: 1"), 3, "data.held_out is 1"),
        (MINIMAL + "qat: {epochs: 1}\n", 4, "qat.learning_rate is missing"),
        (MINIMAL + "qat: 3\n", 4, "qat is 3: it should be a section with keys such as epochs"),
        (
            MINIMAL + "qat:\n  learning_rate: 1.0e-5\n  distillation: {wait: 1}\n",
            6,
            "qat.distillation.wait is not a key of a recipe. Did you mean weight?",
        ),
        (
            "name: x\nsource: y\ndata:\n  evaluation: c\n  train: [a.json,\n   {split: b}]\n",
            6,
            "data.train[1].dataset is missing",
        ),
        (
            "name: x\nsource: y\ndata:\n  evaluation: c.json\n",
            1,
            "the calibration set is empty: name a file in train or in calibration",
        ),
        (MINIMAL + "model: {max_seq_len: 128}\n", 4, "doc_stride 128 is too large"),
        (
            MINIMAL + "quantization: {keep_floating_point: ['(']}\n",
            4,
            "quantization.keep_floating_point: '(' is not a regular expression: missing )",
        ),
        (
            MINIMAL + "quantization: {keep_floating_point: ['']}\n",
            4,
            "quantization.keep_floating_point: '' names no layer",
        ),
        # YAML makes true of "yes" and "on", which are no limits of 1.
        (MINIMAL + "gate: {min_f1: yes}\n", 4, "gate.min_f1: it is true, and not a switch"),
        (MINIMAL + "seed: off\n", 4, "seed: it is false, and not a switch"),
        (MINIMAL + "finetune: {learning_rate: on}\n", 4, "learning_rate: it is true"),
        (f"name: {'x' * 256}\nsource: y\n", 1, "should have at most 255 characters"),
        ("name: x\nname: z\n", 2, "name is there twice, first in line 1"),
        ("name: x\nsource: [y\n", 3, "this is not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    message = refusal(tmp_path, text)
    assert f"recipe.yaml, line {line}: " in message
    assert expected in message


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, MINIMAL + "sed: 3\ngate: {max_f1_drop: x}\n")
    assert len(message.splitlines()) == 2


def test_a_mistake_in_an_override_is_named_as_such(tmp_path: Path) -> None:
    assert "recipe.yaml, gate.max_f1_drop=x: gate.max_f1_drop is 'x'" in refusal(
        tmp_path, MINIMAL, "gate.max_f1_drop=x"
    )
    assert "'seed' should be KEY=VALUE" in refusal(tmp_path, MINIMAL, "seed")


def aliases(levels: int) -> str:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        rows.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        (MINIMAL + aliases(9), 5, "`*a0` is an alias, which is not allowed here"),
        (MINIMAL + "gate: &gate {max_f1_drop: *gate}\n", 4, "`*gate` is an alias"),
        (MINIMAL + "qat: &qat\n  - *qat\n", 5, "`*qat` is an alias"),
        (MINIMAL + "seed: " + "[" * 100_000, 4, "Values are nested more than 20 levels deep"),
        (
            MINIMAL + "seed: " + "{a: " * 30 + "1" + "}" * 30 + "\n",
            4,
            "Values are nested more than",
        ),
        (MINIMAL + "? [a, b]\n: 1\n", 4, "A key has to be a word"),
        (MINIMAL + "seed: &seed 3\nmodel: {<<: *seed}\n", 5, "`*seed` is an alias"),
        (MINIMAL + "finetune: {learning_rate: .nan}\n", 4, "finetune.learning_rate is nan"),
        (MINIMAL + "finetune: {learning_rate: 0.1, epochs: .inf}\n", 4, "epochs is inf"),
        (MINIMAL + f"seed: {2**32}\n", 4, "seed is 4294967296"),
    ],
    ids=range(10),
)
def test_what_would_be_expensive_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, expected: str
) -> None:
    message = refusal(tmp_path, text)
    assert f"recipe.yaml, line {line}: " in message
    assert expected in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "# " + "x" * 2**18, "characters, and at most 262144 are read"),
        (MINIMAL + "seed: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
        (MINIMAL + "seed: 2026-13-41\n", "is not valid YAML: month must be in 1..12"),
        (MINIMAL + "seed: \a\n", "is not valid YAML"),
        (MINIMAL + f"seed: 0x{'f' * 9000}\n", "line 4: this is not valid YAML: Exceeds the limit"),
        (MINIMAL + f"seed: {'1:' * 5000}1\n", "line 4: this is not valid YAML: Exceeds the limit"),
        (MINIMAL + 'seed: !!int ""\n', "line 4: this is not valid YAML: the value does not fit"),
        (MINIMAL + "seed: !!bool maybe\n", "the value does not fit the tag"),
        (MINIMAL + "seed: !!timestamp today\n", "the value does not fit the tag"),
    ],
)
def test_what_is_too_large_or_has_no_value_is_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in refusal(tmp_path, text)


def test_a_long_value_is_shortened_in_a_message(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, MINIMAL + f"seed: {'x' * 10_000}\n")) < 400
    assert len(refusal(tmp_path, MINIMAL, f"seed={'x' * 10_000}")) < 600


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=&a [*a]", "line 1: `*a` is an alias"),
        ("seed=" + "[" * 10_000, "Values are nested more than 20 levels deep"),
        ("seed=[1", "this is not valid YAML"),
        (".".join("a" * 5000) + "=1", "is not a key of a recipe: it has 5000 parts"),
    ],
)
def test_an_expensive_override_is_refused(tmp_path: Path, override: str, expected: str) -> None:
    message = refusal(tmp_path, MINIMAL, override)
    assert expected in message
    assert len(message) < 500


def test_training_needs_training_data(tmp_path: Path) -> None:
    text = "name: x\nsource: y\ndata: {calibration: [a.json], evaluation: b.json}\n"
    message = refusal(tmp_path, text + "qat: {learning_rate: 1.0e-5}\n")
    assert "qat needs data.train, which names no file" in message


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("{}", "line 4: pruning.speedup is missing"),
        ("{speedup: 1}", "pruning.speedup is 1: input should be greater than 1"),
        ("{speedup: [2, 0.5]}", "pruning.speedup[1] is 0.5: input should be greater than 1"),
        ("{speedup: []}", "pruning.speedup: it names none: name at least one"),
        ("{speedup: [2, 3, 2]}", "pruning.speedup: 2 is named twice"),
        ("{speedup: fast}", "pruning.speedup is 'fast'"),
        ("{speedup: 2, at: {precision: INT4}}", "pruning.at.precision is 'INT4'"),
        ("{speedup: 2, at: {bach: 8}}", "Did you mean batch?"),
        ("{speedup: 2, epochs: 1}", "pruning.epochs is not a key of a recipe"),
        ("{speedup: 2, doc_stride: 380}", "pruning: doc_stride 380 is too large"),
        ("{speedup: 2, distillation: {hidden: -1}}", "pruning.distillation.hidden is -1"),
    ],
)
def test_mistakes_in_a_pruning_are_named(tmp_path: Path, section: str, expected: str) -> None:
    assert expected in refusal(tmp_path, f"{MINIMAL}pruning: {section}\n")


def test_a_wrong_speed_up_is_one_mistake(tmp_path: Path) -> None:
    for given in ("1", "fast", "[2, 0.5]", "null"):
        message = refusal(tmp_path, f"{MINIMAL}pruning: {{speedup: {given}}}\n")
        assert message.count("pruning.speedup") == 1


def test_speed_ups_are_one_or_several_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for given, expected in (("2", (2.0,)), ("[3, 1.5]", (1.5, 3.0))):
        path.write_text(f"{MINIMAL}pruning: {{speedup: {given}}}\n", encoding="utf-8")
        pruning = load_recipe(path).pruning
        assert pruning is not None
        assert pruning.speedup == expected


def test_pruning_without_training_needs_no_training_data(tmp_path: Path) -> None:
    text = "name: x\nsource: y\ndata: {calibration: [a.json], evaluation: b.json}\n"
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{text}pruning: {{speedup: 2, epochs_per_step: 0}}\n", encoding="utf-8")
    load_recipe(path)
    message = refusal(tmp_path, f"{text}pruning: {{speedup: 2}}\n")
    assert "pruning needs data.train, which names no file" in message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text\n"])
def test_a_recipe_is_keys_and_values(tmp_path: Path, text: str) -> None:
    assert "should contain keys and values" in refusal(tmp_path, text)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"There is no recipe .*nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


SECTIONS: dict[str, type[BaseModel]] = {
    "Top level": Recipe,
    "`model:`": Model,
    "`data:`": Data,
    "`finetune:`": Training,
    "`pruning:`": Pruning,
    "`pruning.at:`": PruningPlace,
    "`pruning.distillation:`": PruningDistillation,
    "`quantization:`": Quantization,
    "`qat:`": QuantizationAwareTraining,
    "`qat.distillation:`": Distillation,
    "`gate:`": Gate,
}


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_is_documented(title: str) -> None:
    _, _, rest = DOCUMENTATION.read_text(encoding="utf-8").partition(f"### {title}\n")
    documented = dict(
        re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", rest.split("\n### ")[0], re.MULTILINE)
    )
    section = SECTIONS[title]
    inherited = {
        key: field.default
        for key, field in Training.model_fields.items()
        if title in ("`qat:`", "`pruning:`")
    }
    expected = {
        key: field.description or f"See `{key}:` below."
        for key, field in section.model_fields.items()
        if key not in inherited or field.default != inherited[key]
    }
    assert documented == expected
