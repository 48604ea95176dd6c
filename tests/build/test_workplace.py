"""The room that a build is refused without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bertqa_build.errors import BuildError
from bertqa_build.recipe import Recipe
from bertqa_build.workplace import Room, require_room, room_of
from tests.support.checkpoints import tiny_bert

TRAINED = {"learning_rate": 1e-4}
AT_ONCE = {"epochs_per_step": 0}


@pytest.mark.parametrize(
    ("sections", "work", "published"),
    [
        ({"precision": "fp32"}, 2, 2),
        ({}, 4, 2.6),
        ({"finetune": TRAINED}, 4 + 7, 2.6),
        ({"finetune": TRAINED, "qat": TRAINED}, 4 + 7 + 7, 2.6),
        ({"qat": TRAINED, "precision": "fp32"}, 2, 2),
        ({"pruning": {"speedup": [2, 4]} | AT_ONCE}, 3 * 4 + 2, 3 * 2.6),
        ({"pruning": {"speedup": [2, 4]} | AT_ONCE, "qat": TRAINED}, 3 * (4 + 7) + 2, 3 * 2.6),
        ({"pruning": {"speedup": 2, "steps": 3}}, 2 * 4 + 3 * 8, 2 * 2.6),
        ({"pruning": {"speedup": [2, 3, 4], "steps": 1}}, 4 * 4 + 3 * 8, 4 * 2.6),
    ],
)
def test_room_is_for_all_that_is_kept(
    sections: dict[str, object], work: float, published: float
) -> None:
    """In models: an export is two, and a checkpoint of a training three, of which two are kept."""
    model = tiny_bert()
    size = sum(each.numel() * each.element_size() for each in model.state_dict().values())
    data = {"train": ["a.json"], "evaluation": "b.json"}
    recipe = Recipe.model_validate({"name": "x", "source": "y", "data": data, **sections})
    assert room_of(recipe, model) == Room(round(work * size), round(published * size))


@pytest.mark.parametrize("name", ["work", "repository"])
def test_a_place_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    # The superuser may write all but read-only disks: the system's answer stands in for one.
    monkeypatch.setattr(
        "bertqa_build.workplace.os.access",
        lambda path, mode: not (mode & os.W_OK and Path(path).name == name),
    )
    with pytest.raises(BuildError, match=rf"{name}\S* cannot be written: its disk is read-only"):
        require_room(Room(1, 1), tmp_path / "work" / "tiny", tmp_path / "repository")
