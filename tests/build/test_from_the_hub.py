"""Checkpoints and data of a hub, in a process that knows no other hub than one on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.support.checkpoints import write_checkpoint
from tests.support.ports import free_port
from tests.support.reading_hub import COMMIT, reading_hub

ROWS = [
    {
        "id": str(number),
        "question": f"Who is number {number}?",
        "context": f"Number {number} is Ada.",
        "answers": {"text": ["Ada"], "answer_start": [len(f"Number {number} is ")]},
    }
    for number in range(4)
]

SCRIPT = """
import json, sys
from pathlib import Path
from bertqa.errors import BertQAError
from bertqa_build.quiet import quiet
with quiet():
    from bertqa.evaluation import read_squad
    from bertqa_build.checkpoint import load_checkpoint
    from bertqa_build.short_form import ShortForm, short_recipe
found = {}
for kind, *arguments in json.loads(sys.argv[1]):
    try:
        if kind == "data":
            made = read_squad(*arguments)
            outcome = [made.name, len(made)]
        elif kind == "model":
            made = load_checkpoint(*arguments, max_seq_len=128)
            outcome = [made.description, made.revision]
        else:
            recipe, chosen = short_recipe(ShortForm(arguments[0], tuple(arguments[1:])))
            outcome = [recipe.name, recipe.data.evaluation]
    except BertQAError as error:
        outcome = str(error)
    found[" ".join((kind, *arguments))] = outcome
print(json.dumps(found))
"""


def outcomes(folder: Path, url: str, *cases: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Return what each case comes to, and what was written on standard error meanwhile."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hub")
    data = root / "questions"
    data.mkdir()
    Dataset.from_list(ROWS).to_parquet(data / "train.parquet")
    Dataset.from_list(ROWS[:1]).to_parquet(data / "validation.parquet")
    other = root / "other"
    other.mkdir()
    Dataset.from_list([{"text": "a"}]).to_json(other / "train.jsonl")
    return {
        "models/org/tiny": write_checkpoint(root / "tiny"),
        "datasets/org/questions": data,
        "datasets/org/other": other,
    }


def test_the_hub_is_read_by_ids_revisions_and_splits(
    tmp_path: Path, repositories: dict[str, Path]
) -> None:
    with reading_hub(repositories) as url:
        found, errors = outcomes(
            tmp_path,
            url,
            ("data", "org/questions"),
            ("data", "org/questions:train"),
            ("data", "org/questions@v1:train[:3]"),
            ("data", "org/questions:tests"),
            ("data", "org/questions@v9"),
            ("data", "org/none"),
            ("data", "org/other"),
            ("data", "org/questions:nothing/train"),
            ("model", "org/tiny"),
            ("model", "org/tiny@v1"),
            ("model", "org/tiny@v9"),
            ("model", "org/none"),
            ("short", "org/tiny@v1", "org/questions"),
        )
    assert found["data org/questions"] == ["org/questions (validation)", 1]
    assert found["data org/questions:train"] == ["org/questions (train)", 4]
    assert found["data org/questions@v1:train[:3]"] == ["org/questions@v1 (train[:3])", 3]
    assert (
        "has no split 'tests': its splits are train, validation"
        in found["data org/questions:tests"]
    )
    assert "the hub has no such revision of it" in found["data org/questions@v9"]
    assert "the hub has none of this name" in found["data org/none"]
    assert "is not like SQuAD: at row 1, context is missing: found text" in found["data org/other"]
    assert "configuration" in found["data org/questions:nothing/train"]
    for name in ("org/tiny", "org/tiny@v1"):
        assert found[f"model {name}"] == [f"org/tiny@{COMMIT}", COMMIT]
    assert "the hub has no such revision of it" in found["model org/tiny@v9"]
    assert "the hub has none of this name" in found["model org/none"]
    assert found["short org/tiny@v1 org/questions"] == ["tiny", "org/questions:validation"]
    assert "Retrying" not in errors
    assert "Traceback" not in errors


def test_without_a_network_there_is_one_sentence_and_what_was_read_before_is_read_again(
    tmp_path: Path, repositories: dict[str, Path]
) -> None:
    cases = ("data", "org/questions:train"), ("model", "org/tiny")
    with reading_hub(repositories) as url:
        before, _ = outcomes(tmp_path, url, *cases)
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert outcomes(tmp_path, url, *cases)[0] == before
    found, errors = outcomes(tmp_path / "hf", nowhere, *cases)
    for case, message in found.items():
        assert "the Hugging Face hub cannot be reached" in message, case
        assert "hf download" in message
        assert "--local-dir DIRECTORY" in message
    assert "Retrying" not in errors
    assert "Traceback" not in errors
