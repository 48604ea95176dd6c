from __future__ import annotations

from pathlib import Path

import pytest

from bertqa.artifact import Repository, Scores, VersionManifest, onnx_model_name, sha256_of
from bertqa.errors import RepositoryError

CARD = VersionManifest(
    model="bert-qa",
    version=2,
    precision="int8",
    format="IR",
    source="tests",
    published="2026-01-01T00:00:00+00:00",
    files={"model.bin": "0" * 64},
    scores=Scores("sample.json", 200, exact_match=64.0, f1=75.0),
    parent=1,
)


def test_only_numbers_are_versions(tmp_path: Path) -> None:
    for name in ("1", "10", "2", "02", "0", "3.tmp", "readme"):
        (tmp_path / "bert-qa" / name).mkdir(parents=True)
    (tmp_path / "bert-qa" / "4").write_text("a file")
    repository = Repository(tmp_path)
    assert repository.versions() == [1, 2, 10]
    assert repository.versions("unknown") == []


def test_where_a_model_has_no_version_those_that_do_are_named(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    with pytest.raises(RepositoryError, match=r"no version of bert-qa\. `bert-qa build` makes one"):
        repository.latest_version()
    for number in range(12):
        (tmp_path / f"customer-{number:02}" / "1").mkdir(parents=True)
    with pytest.raises(RepositoryError, match=r"its models are customer-00, .*-09 and 2 more\.$"):
        repository.latest_version()


def test_a_version_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    with pytest.raises(RepositoryError, match=r"no version 3 of bert-qa \(published: none\)"):
        repository.require_version(3)
    repository.version_dir(1).mkdir(parents=True)
    with pytest.raises(RepositoryError, match=r"published: 1\)"):
        repository.require_version(3)
    assert repository.require_version(1) == tmp_path / "bert-qa" / "1"


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    directory = repository.version_dir(2)
    directory.mkdir(parents=True)
    with pytest.raises(RepositoryError, match=r"no .*manifest\.json"):
        repository.manifest(2)
    (directory / "manifest.json").write_text(CARD.to_json(), encoding="utf-8")
    assert repository.manifest(2) == CARD
    for damage in ("{", "[]", '{"model": "bert-qa", "colour": "red"}'):
        (directory / "manifest.json").write_text(damage, encoding="utf-8")
        with pytest.raises(RepositoryError, match="is not a version manifest"):
            repository.manifest(2)


def test_digests_and_names(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert onnx_model_name("bert-qa") == "bert-qa-onnx"
