from __future__ import annotations

from pathlib import Path

import pytest

from bertqa_build.kept import read_kept, write_kept


def test_what_is_kept_is_for_the_same_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "kept.json"
    key = {"shape": (1, 2), "cpu": "this"}

    write_kept(path, key, {"seconds": {"a": 1.5}})

    assert read_kept(path, key) == {"seconds": {"a": 1.5}}
    assert read_kept(path, {**key, "cpu": "another"}) == {}
    assert read_kept(tmp_path / "missing.json", key) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"'])
def test_a_damaged_file_keeps_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kept.json"
    path.write_text(text, encoding="utf-8")

    assert read_kept(path, {}) == {}
