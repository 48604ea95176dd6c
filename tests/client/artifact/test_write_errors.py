"""What a writer says when the system refuses to write: one error, which names the file once."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import (
    WORK_FOLDER,
    OvmsConfig,
    Repository,
    RepositoryWriter,
    VersionManifest,
    sha256_of,
    write_whole,
)
from bertqa.errors import BertQAError, RepositoryError
from tests.support.files import unwritable

SURROGATE = '{"model_config_list": [{"config": {"name": "\\ud800"}}]}'


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    root = tmp_path / "repository"
    root.mkdir()
    return Repository(root)


def fails(action: Callable[[], object]) -> str:
    with pytest.raises(RepositoryError) as failed:
        action()
    message = str(failed.value)
    assert "Errno" not in message
    paths = re.findall(r"/\S+?(?=[:,.)]? |[:,.)]?$)", message)
    assert len(paths) == len(set(paths)), message
    return message


def enter(repository: Repository) -> None:
    with RepositoryWriter(repository):
        pass


def test_a_character_that_cannot_be_encoded_is_refused_and_nothing_is_left(
    repository: Repository,
) -> None:
    repository.config_path.write_text(SURROGATE)
    read = OvmsConfig.read(repository.config_path)
    with RepositoryWriter(repository) as writer:
        message = fails(lambda: writer.replace_config(read, read.new_text))
        assert r"'\ud800'" in message
        assert [path.name for path in (repository.root / WORK_FOLDER).iterdir()] == ["lock"]
    assert repository.config_path.read_text() == SURROGATE


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_no_part_of_a_file_is_left_whatever_stops_it(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def stop(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(error):
        write_whole(path, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "old"


def test_a_disk_that_is_full_is_named_with_the_file(tmp_path: Path) -> None:
    """The limit of a child's files stands for the disk: the system's error has no file's name."""
    path = tmp_path / "big.txt"
    child = os.fork()
    if child == 0:
        import resource

        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
            write_whole(path, "x" * 100)
        except OSError as error:
            status = 0 if (error.errno, error.filename) == (errno.EFBIG, str(path)) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not list(tmp_path.iterdir())


def test_a_root_that_cannot_be_written_is_named(repository: Repository) -> None:
    with unwritable(repository.root):
        message = fails(lambda: enter(repository))
    work = repository.root / WORK_FOLDER
    assert message.startswith(f"{work} cannot be written: Permission denied.")


def test_a_root_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = fails(lambda: enter(Repository(tmp_path / "file")))
    assert message.startswith(f"{tmp_path / 'file'} cannot be written: it has to be a directory")


def test_a_source_that_cannot_be_read_is_named(repository: Repository, tmp_path: Path) -> None:
    from tests.client.artifact.test_links import draft

    gone = draft(tmp_path)
    (tmp_path / "model.onnx").unlink()
    with RepositoryWriter(repository) as writer:
        message = fails(lambda: writer.publish([gone]))
    assert f"No such file or directory ({tmp_path / 'model.onnx'})" in message


def test_an_unfinished_file_that_is_a_directory_is_named(
    repository: Repository, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    repository.config_path.symlink_to(config)
    with RepositoryWriter(repository) as writer:
        (tmp_path / ".config.json.partial").mkdir()
        message = fails(lambda: writer.write(repository.config_path, "{}"))
    assert "Is a directory" in message
    assert ".config.json.partial" in message


def test_a_root_is_not_left_where_its_work_folder_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def full(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name == WORK_FOLDER:
            raise OSError(errno.ENOSPC, "No space left on device")
        make(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", full)
    assert "No space left" in fails(lambda: enter(Repository(tmp_path / "new")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["bert-qa/1/manifest.json", "bert-qa/1/model.bin", "config.json"])
@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(
    repository: Repository, name: str
) -> None:
    path = repository.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    readers: dict[str, Callable[[], object]] = {
        "manifest.json": lambda: VersionManifest.read(path),
        "config.json": lambda: OvmsConfig.read(path),
        "model.bin": lambda: sha256_of(path),
    }
    with pytest.raises((BertQAError, OSError), match="not a file"):
        readers[path.name]()
