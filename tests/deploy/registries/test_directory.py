from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bertqa._progress import Progress
from bertqa.artifact import Repository, require_signed
from bertqa.errors import InvalidOptionError, SignatureError
from bertqa_deploy.errors import StorageError, VersionExistsError
from bertqa_deploy.registries.pulling import pull
from bertqa_deploy.storage.address import Address, Layout
from bertqa_deploy.storage.publishing import publish
from tests.support.keys import write_keys


def lay_out(repository: Repository, to: Path, version: int = 1) -> list[str]:
    published = publish(repository, version, Address("", str(to)), layout=Layout.HUB)
    return [file.path for file in published.files if file.sent]


def test_it_appears_whole_and_is_pulled(made: Repository, tmp_path: Path) -> None:
    to = tmp_path / "a" / "qa"
    assert len(lay_out(made, to)) == 9
    assert lay_out(made, to) == []
    assert to.stat().st_mode & 0o777 == 0o755

    target = Repository(tmp_path / "r")
    pulled = pull(target, Address("", str(to)), model="other")

    assert (pulled.version, pulled.origin) == (1, str(to))
    assert target.manifest(1, "other").files == made.manifest(1).files
    assert target.manifest(1, "other-onnx").format == "onnx"


def killed_pulling(target: Repository, source: Address, at: str) -> None:
    """Pull in a process that is gone at once where a file of this name would be renamed."""
    child = os.fork()
    if child == 0:
        rename = Path.rename

        def stop(path: Path, to: Path) -> Path:
            if Path(to).match(at):
                os._exit(9)
            return rename(path, to)

        patched = pytest.MonkeyPatch()
        patched.setattr(Path, "rename", stop)
        patched.setattr(os, "replace", lambda one, other: stop(Path(one), Path(other)))
        try:
            pull(target, source)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("at", ["bert-qa-onnx/1", "bert-qa/1", "config.json"])
def test_a_pull_that_was_killed_is_completed_by_the_next(
    made: Repository, tmp_path: Path, at: str
) -> None:
    lay_out(made, tmp_path / "qa")
    target, source = Repository(tmp_path / "r"), Address("", str(tmp_path / "qa"))
    killed_pulling(target, source, at)
    assert pull(target, source).version == 1
    assert [entry.number for entry in target.entries()] == [1]
    assert target.config_path.exists()
    assert pull(target, source).present


def test_nothing_is_left_of_one_that_broke_off(made: Repository, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.stage == "Sending model.onnx":
            raise StoppedError

    with pytest.raises(StoppedError):
        publish(made, 1, Address("", str(tmp_path / "qa")), layout=Layout.HUB, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_is_filled_and_another_one_is_left_alone(
    made: Repository, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert lay_out(made, tmp_path / "empty")
    with pytest.raises(VersionExistsError, match=r"its .* is another file"):
        lay_out(made, tmp_path / "empty", version=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(VersionExistsError, match=r"holds something else"):
        lay_out(made, tmp_path / "full")
    (tmp_path / "file").write_text("x")
    with pytest.raises(VersionExistsError, match=r"not a directory"):
        lay_out(made, tmp_path / "file")
    assert (tmp_path / "full" / "mine").read_text() == "x"


def test_a_place_that_cannot_be_written_is_one_sentence(made: Repository, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"cannot be used: .* Nothing appeared"):
        lay_out(made, tmp_path / "file" / "qa")


def test_other_directories_and_stores_are_not_pulled(tmp_path: Path, made: Repository) -> None:
    with pytest.raises(StorageError, match="There is no directory"):
        pull(Repository(tmp_path / "r"), Address("", str(tmp_path / "none")))
    with pytest.raises(StorageError, match="is a model repository, which servers read as it is"):
        pull(Repository(tmp_path / "r"), Address("", str(made.root)))
    (tmp_path / "other").mkdir()
    with pytest.raises(StorageError, match="holds no version"):
        pull(Repository(tmp_path / "r"), Address("", str(tmp_path / "other")))
    with pytest.raises(InvalidOptionError, match="is a repository that OVMS reads"):
        pull(Repository(tmp_path / "r"), Address.parse("az://models/qa"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "onnx"}, "in the format 'onnx'"),
        ({"files": {"../../x": "0" * 64}}, r"lists \.\./\.\./x, not model.bin and model.xml"),
        ({"schema_version": 99}, "written by a newer release"),
        ({"files": {"model.xml": "0" * 64, "model.bin": "0" * 64}}, "is not the one that its"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    made: Repository, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    lay_out(made, tmp_path / "qa")
    manifest = tmp_path / "qa" / "manifests" / "openvino.json"
    known = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**known, **changes}), encoding="utf-8")
    with pytest.raises(StorageError, match=message):
        pull(Repository(tmp_path / "r"), Address("", str(tmp_path / "qa")))
    assert not (tmp_path / "r").exists()


def test_a_store_has_no_such_layout(made: Repository) -> None:
    for to, options in (
        ("az://models/qa", {"layout": Layout.HUB}),
        ("elsewhere", {"public": True}),
    ):
        with pytest.raises(InvalidOptionError):
            publish(made, 1, Address.parse(to), **options)


def test_a_signature_is_verified_before_and_another_made_for_the_number_here(
    repository: Repository, tmp_path: Path
) -> None:
    theirs, ours = write_keys(tmp_path, "theirs"), write_keys(tmp_path, "ours")
    to, target = Address("", str(tmp_path / "qa")), Repository(tmp_path / "r")
    publish(repository, 2, to, layout=Layout.HUB, sign=theirs.sign)

    with pytest.raises(SignatureError, match=r"signature of manifests/openvino\.json in .*another"):
        pull(target, to, verify=ours.verify)
    assert not target.root.exists()

    pull(target, to, verify=theirs.verify)
    with pytest.raises(SignatureError, match="not signed"):
        require_signed(target.version_dir(1), ours.verify)
    pulled = pull(target, to, verify=theirs.verify, sign=ours.sign)

    assert (pulled.version, pulled.present) == (1, True)
    for model in ("bert-qa", "bert-qa-onnx"):
        require_signed(target.version_dir(1, model), ours.verify)
    fresh = Repository(tmp_path / "fresh")
    pull(fresh, to, sign=ours.sign)
    require_signed(fresh.version_dir(1), ours.verify)


@pytest.mark.parametrize("place", ["manifests/openvino.json", "manifests/onnx.json"])
def test_a_manifest_that_was_changed_or_lost_its_signature_is_not_pulled(
    repository: Repository, tmp_path: Path, place: str
) -> None:
    keys, to, target = write_keys(tmp_path), tmp_path / "qa", Repository(tmp_path / "r")
    publish(repository, 2, Address("", str(to)), layout=Layout.HUB, sign=keys.sign)
    manifest = to / place
    manifest.write_text(manifest.read_text().replace("78.17", "98.17"), encoding="utf-8")

    with pytest.raises(SignatureError, match=f"manifest of {place} in .*, which was changed since"):
        pull(target, Address("", str(to)), verify=keys.verify)

    manifest.with_name(f"{manifest.name}.sig").unlink()
    with pytest.raises(SignatureError, match=rf"{place}\.sig in .* is missing, so"):
        pull(target, Address("", str(to)), verify=keys.verify)
    assert not target.root.exists()
