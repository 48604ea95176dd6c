from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from bertqa._progress import Progress
from bertqa.artifact import Repository
from bertqa_deploy.errors import PlaceError, TakenError
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.publishing import publish


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
    """Publish and give what was done, in order."""
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
def test_nothing_appears_before_all_is_there_and_the_same_command_goes_on(
    published: Repository, tmp_path: Path, stage: str, then: list[str]
) -> None:
    to = tmp_path / "elsewhere"
    killed_at(stage, published, to)

    assert not (to / "bert-qa" / "2").exists()
    assert [path.name for path in (to / "bert-qa-onnx").iterdir()] == ["2"]

    stages = stages_of(published, to)
    sent = [name.rpartition("/")[2] for name in stages if name.startswith("Sending bert-qa/2/")]
    assert sent == then
    assert {path.name for path in (to / "bert-qa" / "2").iterdir()} == {
        path.name for path in published.version_dir(2).iterdir()
    }
    assert [path.name for path in (to / ".publishing").iterdir()] == ["lock"]


def test_what_is_staged_and_damaged_is_sent_again(published: Repository, tmp_path: Path) -> None:
    to = tmp_path / "elsewhere"
    killed_at("Sending bert-qa/2/model.xml", published, to)
    (staged,) = (to / ".publishing").glob("bert-qa-2-*")
    (staged / "model.bin").write_bytes(b"rubbish")

    assert "Sending bert-qa/2/model.bin" in stages_of(published, to)
    weights = (published.version_dir(2) / "model.bin").read_bytes()
    assert (to / "bert-qa/2/model.bin").read_bytes() == weights


def test_half_a_version_of_somebody_else_is_named(published: Repository, tmp_path: Path) -> None:
    half = tmp_path / "elsewhere" / "bert-qa" / "2"
    half.mkdir(parents=True)
    (half / "manifest.json").write_bytes((published.version_dir(2) / "manifest.json").read_bytes())

    with pytest.raises(TakenError, match=r"bert-qa/2 is there without model\.bin"):
        publish(published, 2, Address("", str(tmp_path / "elsewhere")))


def test_only_one_publishes_into_a_directory(published: Repository, tmp_path: Path) -> None:
    staging = tmp_path / ".publishing"
    staging.mkdir()
    with (staging / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PlaceError, match="Another publish is under way"):
            publish(published, 2, Address("", str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == [".publishing"]


def test_a_place_that_cannot_be_written_is_named(published: Repository, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")

    with pytest.raises(PlaceError, match=r"file/x cannot be written: Not a directory"):
        publish(published, 2, Address("", str(tmp_path / "file" / "x")))
