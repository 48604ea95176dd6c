from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bertqa_build.checkpoint import load_checkpoint
from bertqa_build.fingerprint import checkpoint_digest
from bertqa_build.provenance import provenance_of
from bertqa_build.recipe import Recipe, load_recipe
from tests.support.checkpoints import write_checkpoint

RECIPE = "name: tiny\nsource: checkpoint\ndata:\n  calibration: [a.json]\n  evaluation: a.json\n"


def git(directory: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.check_output(["git", "-C", directory, *who, *arguments], text=True).strip()


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return load_recipe(path, ["seed=7"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("provenance") / "checkpoint")


def test_a_recipe_in_a_repository_has_its_commit(recipe: Recipe, folder: Path) -> None:
    digest = checkpoint_digest(load_checkpoint(str(folder), max_seq_len=128))
    place = recipe.directory

    outside = provenance_of(recipe, digest, "", {"a.json": "12"})
    assert (outside.commit, outside.is_modified) == ("", None)
    assert (outside.seed, outside.data) == (7, {"a.json": "12"})
    assert outside.machine
    assert outside.threads
    assert outside.checkpoint_sha256 == digest
    assert len(digest) == 64

    git(place, "init", "-q")
    git(place, "commit", "-q", "--allow-empty", "-m", "empty")
    assert provenance_of(recipe, digest, "", {}).commit == ""  # It is in no commit yet.

    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "recipe")
    found = provenance_of(recipe, digest, "", {})
    assert (found.commit, found.is_modified) == (git(place, "rev-parse", "HEAD"), False)

    (place / "tiny.yaml").write_text(RECIPE + "seed: 1\n", encoding="utf-8")
    changed = provenance_of(recipe, digest, "", {})
    assert (changed.commit, changed.is_modified) == (found.commit, True)


def test_a_recipe_without_a_file_has_no_commit(folder: Path) -> None:
    recipe = Recipe.model_validate(
        {"name": "x", "source": str(folder), "data": {"calibration": ["a"], "evaluation": "a"}}
    )
    found = provenance_of(recipe, "", "", {})
    assert (found.commit, found.is_modified) == ("", None)
