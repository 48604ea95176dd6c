from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bertqa._progress import Progress
from bertqa.artifact import WORK_FOLDER, Repository, RepositoryWriter
from bertqa.errors import RepositoryBusyError, RepositoryError
from bertqa_deploy.errors import VersionExistsError
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.directory import Directory
from bertqa_deploy.storage.publishing import publish
from bertqa_deploy.storage.version import VersionFiles
from tests.support.files import unwritable
from tests.support.models import write_manifest, write_published_version

KEPT = {"lock", "numbers.json", "copies"}


class KilledError(Exception):
    """Ends a publish where a signal would."""


def killed_at(stage: str, repository: Repository, to: Path) -> None:
    """Publish, and end when it comes to a stage such as `Sending bert-qa/2/model.bin`."""

    def on_progress(progress: Progress) -> None:
        if progress.stage == stage:
            raise KilledError

    with pytest.raises(KilledError):
        publish(repository, 2, Address("", str(to)), on_progress=on_progress)


def stages_of(repository: Repository, to: Path) -> list[str]:
    """Publish and return what was done, in order."""
    stages: dict[str, None] = {}
    publish(
        repository,
        2,
        Address("", str(to)),
        on_progress=lambda progress: stages.setdefault(progress.stage),
    )
    return list(stages)


@pytest.mark.parametrize(
    ("stage", "then"),
    [
        ("Sending bert-qa/2/manifest.json", ["model.bin", "model.xml"]),
        ("Reading back bert-qa/2/model.bin", ["model.xml"]),
        ("Reading back bert-qa/2/model.xml", []),
    ],
)
def test_nothing_appears_before_all_is_there_and_the_same_command_resumes(
    published: Repository, tmp_path: Path, stage: str, then: list[str]
) -> None:
    to = tmp_path / "elsewhere"
    killed_at(stage, published, to)

    assert not (to / "bert-qa").exists()
    assert not (to / "bert-qa-onnx").exists()

    stages = stages_of(published, to)
    sent = [name.rpartition("/")[2] for name in stages if name.startswith("Sending bert-qa/2/")]
    assert sent == then
    assert {path.name for path in (to / "bert-qa" / "2").iterdir()} == {
        path.name for path in published.version_dir(2).iterdir()
    }
    assert {path.name for path in (to / WORK_FOLDER).rglob("*")} == KEPT


def test_what_is_staged_and_damaged_is_sent_again(published: Repository, tmp_path: Path) -> None:
    to = tmp_path / "elsewhere"
    killed_at("Sending bert-qa/2/model.xml", published, to)
    (staged,) = (to / WORK_FOLDER / "copies").glob("bert-qa-2-*")
    (staged / "model.bin").write_bytes(b"rubbish")

    assert "Sending bert-qa/2/model.bin" in stages_of(published, to)
    weights = (published.version_dir(2) / "model.bin").read_bytes()
    assert (to / "bert-qa/2/model.bin").read_bytes() == weights


def test_half_of_another_version_is_named(published: Repository, tmp_path: Path) -> None:
    half = tmp_path / "elsewhere" / "bert-qa" / "2"
    half.mkdir(parents=True)
    (half / "manifest.json").write_bytes((published.version_dir(2) / "manifest.json").read_bytes())

    with pytest.raises(VersionExistsError, match=r"bert-qa/2 is there without model\.bin"):
        publish(published, 2, Address("", str(tmp_path / "elsewhere")))


def test_only_one_writes_to_a_directory(published: Repository, tmp_path: Path) -> None:
    part, waiting = VersionFiles.of(published, 2, "bert-qa"), list[str]()
    with (
        RepositoryWriter(Repository(tmp_path)),
        pytest.raises(RepositoryBusyError, match=r"writes to .* for 0\.1 s: nothing was changed"),
    ):
        Directory(tmp_path, wait_seconds=0.1).take(
            [part], lambda progress: waiting.append(progress.stage)
        )
    assert waiting == [f"Waiting for another process that writes to {tmp_path}"]
    assert [path.name for path in tmp_path.iterdir()] == [WORK_FOLDER]


def test_a_place_that_cannot_be_written_is_named(published: Repository, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")

    with pytest.raises(RepositoryError, match=r"file/x cannot be written: Not a directory"):
        publish(published, 2, Address("", str(tmp_path / "file" / "x")))


def test_what_is_there_already_needs_no_lock_and_no_writing(
    repository: Repository, tmp_path: Path
) -> None:
    to = tmp_path / "elsewhere"
    publish(repository, 2, Address("", str(to)))

    with RepositoryWriter(Repository(to)), unwritable(to):
        again = publish(repository, 2, Address("", str(to)))

    assert not any(file.sent for file in again.files)


def test_a_number_of_another_version_is_not_used_again_when_that_is_deleted(
    repository: Repository, published: Repository, tmp_path: Path
) -> None:
    to = Address("", str(tmp_path / "elsewhere"))
    write_manifest(repository.version_dir(2), source="another")
    publish(repository, 2, to)
    for model in ("bert-qa", "bert-qa-onnx"):
        shutil.rmtree(Path(to.path) / model / "2")

    with pytest.raises(RepositoryError, match=r"number 2 of bert-qa was used for another version"):
        publish(published, 2, to)
    assert not Repository(Path(to.path)).versions()

    publish(repository, 2, to)
    with RepositoryWriter(Repository(Path(to.path))) as writer:
        assert writer.next_number("bert-qa", "bert-qa-onnx") == 3


def test_what_is_copied_is_readable_whatever_the_umask(
    published: Repository, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        publish(published, 2, Address("", str(tmp_path / "elsewhere")))
    finally:
        os.umask(before)
    for path in (tmp_path / "elsewhere", *(tmp_path / "elsewhere").glob("bert-qa*/**/*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_a_full_disk_is_one_error_and_keeps_nothing(published: Repository, tmp_path: Path) -> None:
    """The largest size that a file may have, in a process of its own, stands for a full disk."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from bertqa.artifact import Repository\n"
        "from bertqa.errors import BertQAError\n"
        "from bertqa_deploy.storage.address import Address\n"
        "from bertqa_deploy.storage.publishing import publish\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n"
        "    publish(Repository(Path(sys.argv[1])), 2, Address('', sys.argv[2]))\n"
        "except BertQAError as error:\n"
        "    print(error)\n"
    )
    to = tmp_path / "elsewhere"
    done = subprocess.run(
        [sys.executable, "-c", script, str(published.root), str(to)],
        capture_output=True,
        text=True,
    )
    assert "cannot be written: File too large" in done.stdout, done.stderr
    assert [path.name for path in to.rglob("*") if path.is_file()] == ["lock"]


def test_a_twin_that_went_before_the_lock_was_taken_is_copied_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look at all parts, the IR would appear alone."""
    write_published_version(tmp_path / "source", 2)
    source, to = Repository(tmp_path / "source"), tmp_path / "to"
    twin, ir = (VersionFiles.of(source, 2, model) for model in ("bert-qa-onnx", "bert-qa"))
    there = to / twin.model / "2"
    shutil.copytree(twin.source, there)
    enter = RepositoryWriter.__enter__

    def another_process_removes_it_first(writer: RepositoryWriter) -> RepositoryWriter:
        shutil.rmtree(there)
        return enter(writer)

    monkeypatch.setattr(RepositoryWriter, "__enter__", another_process_removes_it_first)
    Directory(to).take([twin, ir], lambda _: None)
    assert Repository(to).versions("bert-qa") == Repository(to).versions("bert-qa-onnx") == [2]


def test_a_version_that_is_a_link_to_nothing_is_taken_before_anything_is_copied(
    published: Repository, tmp_path: Path
) -> None:
    link = tmp_path / "to" / "bert-qa" / "2"
    link.parent.mkdir(parents=True)
    link.symlink_to("nowhere")
    part = VersionFiles.of(published, 2, "bert-qa")
    with pytest.raises(VersionExistsError, match="is a symbolic link to nowhere"):
        Directory(tmp_path / "to").take([part], lambda _: None)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["bert-qa"]


def test_a_copy_is_not_written_through_a_link(published: Repository, tmp_path: Path) -> None:
    part = VersionFiles.of(published, 2, "bert-qa")
    copy = tmp_path / "to" / ".bert-qa" / "copies" / part.identity
    copy.mkdir(parents=True)
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "photos").mkdir()
    (copy / "model.xml").symlink_to(tmp_path / "mine")
    (copy / "photos").symlink_to(tmp_path / "photos")
    (copy / "model.bin").mkdir()
    Directory(tmp_path / "to").take([part], lambda _: None)
    assert (tmp_path / "mine").read_text() == "kept"
    assert (tmp_path / "photos").is_dir()
    assert Repository(tmp_path / "to").versions() == [2]
