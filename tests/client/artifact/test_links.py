"""Symbolic links and wrong kinds of files in a repository: nothing outside it is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.artifact import (
    WORK_FOLDER,
    Arrival,
    Draft,
    Repository,
    RepositoryWriter,
    VersionManifest,
)
from bertqa.errors import RepositoryError


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "repository"
    root.mkdir()
    return Repository(root)


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Return a directory outside the repository, with what a writer would clear away."""
    directory = tmp_path / "precious"
    (directory / "photos").mkdir(parents=True)
    (directory / "thesis.txt").write_text("ten years")
    (directory / "photos" / "1.jpg").write_text("a picture")
    return directory


def contents(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in directory.rglob("*")
        if path.is_file()
    }


def draft(tmp_path: Path, model: str = "bert-qa") -> Draft:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"a model")
    return Draft(VersionManifest(model, 0, "int8", "onnx", "tests", "", {}), {source.name: source})


def enter(repository: Repository) -> None:
    with RepositoryWriter(repository):
        pass


def test_a_work_folder_that_is_a_link_is_refused_and_nothing_behind_it_is_removed(
    repository: Repository, precious: Path
) -> None:
    before = contents(precious)
    (repository.root / WORK_FOLDER).symlink_to(precious)
    with pytest.raises(RepositoryError, match=rf"{WORK_FOLDER} is a symbolic link .*Remove the"):
        enter(repository)
    assert contents(precious) == before


@pytest.mark.parametrize("name", ["staged", "copies", "journal.json", "lock", "numbers.json"])
def test_a_link_in_the_work_folder_is_refused(
    name: str, repository: Repository, precious: Path
) -> None:
    enter(repository)
    before = contents(precious)
    link = repository.root / WORK_FOLDER / name
    link.unlink(missing_ok=True)
    link.symlink_to(precious / ("thesis.txt" if name not in ("staged", "copies") else ""))
    with pytest.raises(RepositoryError, match=rf"{name} is a symbolic link .*Nothing was changed"):
        enter(repository)
    assert contents(precious) == before
    assert link.is_symlink()


@pytest.mark.parametrize("name", ["", "copies", "lock", "numbers.json"])
def test_another_kind_of_file_in_the_work_folder_is_named(
    name: str, repository: Repository
) -> None:
    work = repository.root / WORK_FOLDER
    if name:
        work.mkdir()
    path = work / name
    path.mkdir() if name in ("lock", "numbers.json") else path.write_text("")
    with pytest.raises(RepositoryError, match=rf"{path} cannot be written: it has to be a "):
        enter(repository)


def test_a_link_or_file_among_the_copies_is_removed_and_not_followed(
    repository: Repository, precious: Path
) -> None:
    before = contents(precious)
    copies = repository.root / WORK_FOLDER / "copies"
    copies.mkdir(parents=True)
    (copies / "bert-qa-1-abc").symlink_to(precious)
    (copies / "bert-qa-2-abc").write_text("a file")
    enter(repository)
    assert not list(copies.iterdir())
    assert contents(precious) == before


@pytest.mark.parametrize("as_link", [True, False])
def test_a_model_whose_directory_is_a_link_or_a_file_is_refused_before_any_work(
    as_link: bool, repository: Repository, precious: Path, tmp_path: Path
) -> None:
    before = contents(precious)
    model = repository.root / "bert-qa-onnx"
    model.symlink_to(precious) if as_link else model.write_text("a file")
    drafts = [draft(tmp_path), draft(tmp_path, "bert-qa-onnx")]
    with (
        RepositoryWriter(repository) as writer,
        pytest.raises(RepositoryError, match=str(model)),
    ):
        writer.publish(drafts)
    assert not (repository.root / "bert-qa").exists()
    assert not (repository.root / WORK_FOLDER / "numbers.json").exists()
    assert contents(precious) == before


@pytest.mark.parametrize("target", ["photos", "nowhere"])
def test_a_version_that_is_a_link_is_there_already(
    target: str, repository: Repository, precious: Path
) -> None:
    (repository.root / "bert-qa").mkdir()
    link = repository.root / "bert-qa" / "1"
    link.symlink_to(precious / target)
    with RepositoryWriter(repository) as writer:
        staged = writer.stage("bert-qa-1", {"model.xml": "xml"})
        with pytest.raises(RepositoryError, match="is there already"):
            writer.appear([Arrival(staged, "bert-qa", 1)])
    assert link.is_symlink()


def test_to_remove_a_version_that_is_a_link_leaves_what_it_leads_to(
    repository: Repository, precious: Path
) -> None:
    before = contents(precious)
    (repository.root / "bert-qa").mkdir()
    link = repository.root / "bert-qa" / "1"
    link.symlink_to(precious)
    with RepositoryWriter(repository) as writer:
        writer.remove(link)
    assert not link.is_symlink()
    assert contents(precious) == before


def test_to_remove_a_version_of_a_model_that_is_a_link_is_refused(
    repository: Repository, tmp_path: Path
) -> None:
    version = tmp_path / "elsewhere" / "1"
    version.mkdir(parents=True)
    (repository.root / "bert-qa").symlink_to(version.parent)
    with (
        RepositoryWriter(repository) as writer,
        pytest.raises(RepositoryError, match="bert-qa is a symbolic link"),
    ):
        writer.remove(repository.root / "bert-qa" / "1")
    assert version.is_dir()


@pytest.mark.parametrize(
    ("staged", "model"),
    [
        ("../../precious", "bert-qa"),
        ("staged/..", "bert-qa"),
        ("staged/gone", "../precious"),
        ("staged/gone", ".."),
    ],
)
def test_a_journal_that_leads_out_of_the_repository_is_dropped(
    staged: str, model: str, repository: Repository, precious: Path
) -> None:
    (precious / "1").mkdir()
    before = contents(precious)
    work = repository.root / WORK_FOLDER
    work.mkdir()
    move = {"staged": staged, "model": model, "version": 1, "manifest_sha256": ""}
    last = {"staged": "staged/none", "model": "none", "version": 1, "manifest_sha256": "0"}
    (work / "journal.json").write_text(json.dumps([move, last]))
    enter(repository)
    assert contents(precious) == before
    assert (precious / "1").is_dir()
    assert not (work / "journal.json").exists()


def test_the_unfinished_file_is_not_written_through_a_link(
    repository: Repository, precious: Path, tmp_path: Path
) -> None:
    """`config.json` may be a link to another disk, where its unfinished text is beside it."""
    before = contents(precious)
    config = tmp_path / "etc" / "config.json"
    config.parent.mkdir()
    config.write_text("{}")
    repository.config_path.symlink_to(config)
    with RepositoryWriter(repository) as writer:
        (config.parent / ".config.json.partial").symlink_to(precious / "thesis.txt")
        writer.write(repository.config_path, '{"new": 1}')
    assert config.read_text() == '{"new": 1}'
    assert contents(precious) == before


@pytest.mark.parametrize("place", ["bert-qa", "bert-qa/1", "bert-qa/1/more"])
def test_a_root_inside_a_model_s_directory_is_refused(place: str, repository: Repository) -> None:
    version = repository.version_dir(1)
    version.mkdir(parents=True)
    (version / "model.xml").write_text("xml")
    with pytest.raises(RepositoryError, match=rf"The repository is {repository.root}\."):
        enter(Repository(repository.root / place))
    assert [path.name for path in version.iterdir()] == ["model.xml"]
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_a_root_inside_a_work_folder_is_refused(repository: Repository) -> None:
    enter(repository)
    work = repository.root / WORK_FOLDER
    for place in (work, work / "more"):
        with pytest.raises(RepositoryError, match="is cleared"):
            enter(Repository(place))
    assert [path.name for path in work.iterdir()] == ["lock"]


def test_a_root_that_is_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to("nowhere")
    with pytest.raises(RepositoryError, match="is a symbolic link to nowhere, which does not"):
        enter(Repository(tmp_path / "root"))
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_a_root_that_is_a_link_to_a_directory_is_written(
    repository: Repository, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(repository.root)
    with RepositoryWriter(Repository(link)) as writer:
        assert writer.publish([draft(tmp_path)]) == 1
    assert repository.versions() == [1]
