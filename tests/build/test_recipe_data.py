from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from bertqa.errors import DataError
from bertqa.evaluation import read_squad
from bertqa_build.recipe import Data, DataSource, HubDataset, Recipe
from bertqa_build.recipe_data import Overlap, RecipeData
from tests.support.checkpoints import CONTEXT, QUESTIONS, write_squad


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    return write_squad(tmp_path / "squad.json")


def recipe(directory: Path, **data: object) -> Recipe:
    given = {"train": ["squad.json"], "evaluation": "squad.json"} | data
    return Recipe(name="x", source="y", data=Data.model_validate(given)).in_directory(directory)


def test_files_are_read_in_order(tmp_path: Path, squad: Path) -> None:
    write_squad(tmp_path / "more.json", copies=2)
    questions = RecipeData(recipe(tmp_path)).questions(["squad.json", "more.json"])
    assert len(questions) == 3 * len(QUESTIONS)
    with pytest.raises(DataError, match=r"The file .*none\.json does not exist"):
        RecipeData(recipe(tmp_path)).questions(["none.json"])


def rows_of(squad: Path) -> list[dict[str, object]]:
    return [
        {
            "id": question.id,
            "question": question.question,
            "context": question.context,
            "answers": {
                "text": [answer.text for answer in question.answers],
                "answer_start": [answer.start for answer in question.answers],
            },
        }
        for question in read_squad(squad)
    ]


def test_a_directory_has_what_the_file_has_in_every_form_that_libraries_save(
    tmp_path: Path, squad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative ones start from the recipe, wherever the build is started."""
    expected = read_squad(squad)
    rows = Dataset.from_list(rows_of(squad))
    (tmp_path / "files").mkdir()
    rows.to_parquet(tmp_path / "files" / "train.parquet")
    rows.select([0]).to_json(tmp_path / "files" / "test.jsonl")
    (tmp_path / "squad").mkdir()
    (tmp_path / "squad" / "train.json").write_text(squad.read_text())
    rows.save_to_disk(tmp_path / "saved")
    both = DatasetDict({"train": rows, "validation": rows.select([1])})
    both.save_to_disk(tmp_path / "both")
    monkeypatch.chdir("/")
    data = RecipeData(recipe(tmp_path))
    sources: list[DataSource] = [
        *("saved", "both:train", "both", "squad"),
        HubDataset(dataset="both", split="train"),
        HubDataset(dataset="saved"),
    ]
    for source in sources:
        assert data.dataset(source).questions == expected.questions, source
    assert expected.questions[0].context == CONTEXT
    for_evaluation = RecipeData(recipe(tmp_path, evaluation="both")).evaluation
    assert [each.id for each in for_evaluation] == [expected.questions[1].id]
    assert for_evaluation.name == "both (validation)"
    (tmp_path / "files" / "test.jsonl").unlink()
    assert len(data.dataset("files:train[:2]")) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("both:tests", "has no split 'tests': its splits are a, b"),
        ("both", r"has several splits: name one of a, b, as in .*both:a\."),
        ("text:train", "is not like SQuAD: at row 1, context is missing: found text"),
        ("text:tests", "has no split 'tests': its splits are train"),
        ("squad.json:train", "is a file, and has no split 'train'"),
        ("nothing", "is an empty directory, without data"),
        ("checkpoint", "is a directory with a checkpoint, not with data"),
        ("other", "no data set can be read from it"),
    ],
)
def test_a_directory_that_does_not_fit_is_named(
    tmp_path: Path, squad: Path, source: str, message: str
) -> None:
    rows = Dataset.from_list([{"text": "a"}])
    DatasetDict({"a": rows, "b": rows}).save_to_disk(tmp_path / "both")
    for name in ("text", "nothing", "other", "checkpoint"):
        (tmp_path / name).mkdir()
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "checkpoint" / name).write_text("{}")
    rows.to_parquet(tmp_path / "text" / "train.parquet")
    (tmp_path / "other" / "model.bin").write_bytes(b"1")
    with pytest.raises(DataError, match=message) as caught:
        RecipeData(recipe(tmp_path)).dataset(source)
    assert "downloaded" not in str(caught.value)


TABLE = "question,context,answer\nWho?,Me,Me\n"
ROW = '{"question": "Who?", "context": "Me", "answer": "Me"}\n'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": TABLE, "b.jsonl": ROW}, r"several formats, such as a\.csv, b\.jsonl, and one"),
        ({"a.csv": TABLE, "b.tsv": TABLE}, r"several formats, such as a\.csv, b\.tsv, and one"),
        ({"a.csv": TABLE, "sub/b.zip": "x"}, r"such as a\.csv, sub/b\.zip, and one format"),
        ({"b.zip": "x"}, r"b\.zip is not a ZIP archive: it is damaged"),
        ({"a.csv": TABLE, "b.csv": f"{TABLE}1,2,3,4\n"}, r"b\.csv is damaged: line 3 has 4 fields"),
        ({"a.jsonl": ROW, "b.jsonl": "{x"}, r"b\.jsonl cannot be read: Line 1 is not valid JSON"),
        (
            {"a.csv": TABLE, "b.csv": "a,b\n1,2\n"},
            r"b\.csv has the columns a, b, and .*a\.csv has ",
        ),
    ],
    ids=str,
)
def test_a_file_of_a_directory_that_cannot_be_read_is_named(
    tmp_path: Path, squad: Path, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        RecipeData(recipe(tmp_path)).dataset("files")


def test_a_card_may_say_which_files_of_a_directory_are_the_data(
    tmp_path: Path, squad: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.csv").write_text(TABLE)
    (folder / "b.jsonl").write_text(ROW)
    (folder / "notes.txt").write_text("These are questions.")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files: a.csv\n---\n"
    )
    assert len(RecipeData(recipe(tmp_path)).dataset("files")) == 1


def write_contexts(path: Path, contexts: int, questions: int = 2) -> Path:
    records = [
        {
            "question": f"What is {n} of {c}?",
            "context": f"Context {c} is about {c} things.",
            "answers": {
                "text": ["things"],
                "answer_start": [len(f"Context {c} is about {c} ")],
            },
        }
        for c in range(contexts)
        for n in range(questions)
    ]
    path.write_text(json.dumps(records))
    return path


def test_a_share_is_held_out_by_contexts(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_contexts(tmp_path / name, 20)
    held = {"train": ["a.json"], "evaluation": None, "held_out": 0.2}
    data = RecipeData(recipe(tmp_path, **held))
    assert len(data.evaluation) == 8
    assert len(data.questions(["a.json"])) == 32
    contexts = {each.context for each in data.evaluation}
    assert not contexts & {each.context for each in data.questions(["a.json"])}
    assert data.evaluation.name == "20% of a.json"
    assert not data.overlap.repeated
    again = RecipeData(recipe(tmp_path, **held))
    assert again.evaluation == data.evaluation
    both = RecipeData(recipe(tmp_path, **(held | {"train": ["a.json", "b.json"]}))).evaluation
    assert len({each.id for each in both}) == len(both) == 16


@pytest.mark.parametrize(
    ("sections", "is_trained"),
    [
        ({"finetune": {"learning_rate": 1e-4}}, True),
        ({"qat": {"learning_rate": 1e-4}}, True),
        ({"pruning": {"speedup": 2}}, True),
        ({"pruning": {"speedup": 2, "epochs_per_step": 0}}, False),
        ({"qat": {"learning_rate": 1e-4}, "precision": "fp32"}, False),
        ({}, False),
    ],
)
def test_data_to_train_on_leak_where_a_section_trains(
    tmp_path: Path, sections: dict[str, object], is_trained: bool
) -> None:
    """The quantisers are calibrated on other questions."""
    squad = write_squad(tmp_path / "squad.json")
    write_contexts(tmp_path / "other.json", 2)
    data = {"train": [str(squad)], "calibration": ["other.json"], "evaluation": "squad.json"}
    made = Recipe.model_validate({"name": "x", "source": "y", "data": data, **sections})
    found = RecipeData(made.in_directory(tmp_path)).overlap.repeated
    assert len(found) == (len(QUESTIONS) if is_trained else 0)


def test_one_context_cannot_be_split(tmp_path: Path) -> None:
    write_contexts(tmp_path / "a.json", 1)
    data = RecipeData(recipe(tmp_path, train=["a.json"], evaluation=None, held_out=0.5))
    with pytest.raises(DataError, match=r"All questions of .* are on one context"):
        len(data.evaluation)


def test_what_is_learnt_from_and_evaluated_on_is_found(tmp_path: Path) -> None:
    write_contexts(tmp_path / "train.json", 4)
    records = json.loads((tmp_path / "train.json").read_text())
    records[0]["question"] = f"  {records[0]['question'].upper()}"
    other = {**records[1], "question": "Is it new?"}
    new = {
        **records[2],
        "context": "Things are elsewhere.",
        "answers": {"text": [], "answer_start": []},
    }
    (tmp_path / "test.json").write_text(json.dumps([records[0], other, new]))
    data = RecipeData(recipe(tmp_path, train=["train.json"], evaluation="test.json"))
    assert data.overlap == Overlap(3, ("record 1",), 1)
    with pytest.raises(DataError, match=r"Leakage: 1 of the 3 questions .*--allow-leakage"):
        data.overlap.require_none(allowed=False)
    data.overlap.require_none(allowed=True)
    calibrated = recipe(tmp_path, train=[], calibration=["train.json"], evaluation="test.json")
    assert RecipeData(calibrated).overlap.repeated == ("record 1",)
    assert "on contexts that other questions to learn from have" in Overlap(9, (), 2).sentence
    assert Overlap(9, (), 0).sentence == ""
