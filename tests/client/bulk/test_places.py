"""Paths and addresses mean the same in every process."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertqa.bulk._places import absolute, is_local
from bertqa.errors import InvalidOptionError


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/in/a.csv", "/in/a.csv"),
        ("file:///in/a b.csv", "/in/a b.csv"),
        ("file:/in/a.csv", "/in/a.csv"),
        ("file://localhost/in", "/in"),
        ("local:///in", "/in"),
        (Path("/in"), "/in"),
        ("s3://bucket/in/", "s3://bucket/in"),
    ],
)
def test_a_place_is_a_path_or_an_address(place: object, expected: str) -> None:
    assert absolute("--input", place) == expected


def test_a_path_starts_from_where_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in", "a:b", "in/x:/y"):
        assert absolute("--input", name) == str(tmp_path / name)
        assert is_local(name)


@pytest.mark.parametrize("place", ["s3:/bucket/in", "file://server/in", "file://in", "gs:/b", "  "])
def test_what_is_neither_is_refused(place: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"--input is .*it has to be a path"):
        absolute("--input", place)
