"""What holds wherever a version is published: the same tests for every kind of place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bertqa.artifact import Repository
from bertqa.errors import (
    BertQAError,
    InvalidOptionError,
    QualityGateError,
    RepositoryError,
    SignatureError,
)
from bertqa_deploy.errors import StorageError, VersionExistsError
from bertqa_deploy.storage.address import Address
from bertqa_deploy.storage.publishing import Published, publish
from tests.support.keys import write_keys
from tests.support.models import write_manifest
from tests.support.stores import Stores

WHOLE = {
    *("bert-qa/2/manifest.json", "bert-qa/2/model.bin", "bert-qa/2/model.xml"),
    *("bert-qa-onnx/2/manifest.json", "bert-qa-onnx/2/model.onnx"),
}


@dataclass(frozen=True)
class Place:
    """Where versions are published to; `contents` are all files by path, but for staging."""

    url: str
    contents: Callable[[], dict[str, bytes]]
    write: Callable[[str, bytes], None]

    @property
    def address(self) -> Address:
        return Address.parse(self.url)


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.relative_to(root).parts[0].startswith(".")
    }


@pytest.fixture(params=["directory", "az", "s3", "gs"])
def place(
    request: pytest.FixtureRequest,
    stores: Stores,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Place:
    if request.param == "directory":
        root = tmp_path / "elsewhere"

        def write(path: str, content: bytes) -> None:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)

        return Place(str(root), lambda: files_of(root), write)
    store = stores.store(request.param)
    store.use(monkeypatch)
    return Place(store.url, store.contents, store.write)


def sent(published: Published) -> set[str]:
    return {file.path for file in published.files if file.sent}


def refused(
    repository: Repository, place: Place, error: type[BertQAError], match: str, version: int = 2
) -> None:
    """Publishing is refused, and what is at the place stays as it is."""
    before = place.contents()
    with pytest.raises(error, match=match):
        publish(repository, version, place.address)
    assert place.contents() == before


def test_a_version_arrives_whole_under_its_number_with_its_twin(
    published: Repository, place: Place
) -> None:
    result = publish(published, 2, place.address)

    ours = {path: content for path, content in files_of(published.root).items() if "/2/" in path}
    assert place.contents() == ours
    assert sent(result) == ours.keys() == WHOLE
    assert (result.version, result.to) == (2, place.url)
    assert {file.path: file.size for file in result.files} == {
        path: len(content) for path, content in ours.items()
    }


def test_the_same_again_sends_nothing_and_succeeds(published: Repository, place: Place) -> None:
    publish(published, 2, place.address)
    before = place.contents()

    assert sent(publish(published, 2, place.address)) == set()
    assert place.contents() == before


def test_versions_stand_side_by_side(published: Repository, place: Place) -> None:
    for version in (2, 1):
        publish(published, version, place.address)

    assert place.contents() == files_of(published.root)


def test_a_version_without_a_twin_goes_alone(repository: Repository, place: Place) -> None:
    twin = repository.version_dir(2, "bert-qa-onnx")
    for path in twin.iterdir():
        path.unlink()
    twin.rmdir()

    assert sent(publish(repository, 2, place.address)) == {p for p in WHOLE if "onnx" not in p}


def test_another_version_of_that_number_is_never_overwritten(
    repository: Repository, place: Place
) -> None:
    publish(repository, 2, place.address)
    weights = repository.version_dir(2) / "model.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    write_manifest(weights.parent)

    refused(
        repository,
        place,
        VersionExistsError,
        r"bert-qa/2/(manifest\.json|model\.bin) is there already",
    )


def test_half_of_another_version_is_not_made_whole(published: Repository, place: Place) -> None:
    place.write("bert-qa/2/model.bin", b"the first half of something else")

    refused(
        published,
        place,
        VersionExistsError,
        r"bert-qa/2/model\.bin is there already, and is another",
    )


def test_a_file_that_the_version_does_not_have_is_not_joined(
    published: Repository, place: Place
) -> None:
    place.write("bert-qa/2/other.xml", b"<net/>")

    refused(
        published,
        place,
        VersionExistsError,
        r"holds other\.xml, which version 2 of bert-qa does not",
    )


def test_what_stands_in_the_twin_s_way_is_seen_before_anything_is_sent(
    published: Repository, place: Place
) -> None:
    place.write("bert-qa-onnx/2/model.onnx", b"another")

    refused(published, place, VersionExistsError, r"bert-qa-onnx/2/model\.onnx is there already")


def test_a_version_that_failed_the_gate_needs_force(repository: Repository, place: Place) -> None:
    gate = {"passed": False, "f1_drop": 3.2, "max_f1_drop": 1.0}
    write_manifest(repository.version_dir(2), gate=gate)

    refused(repository, place, QualityGateError, r"F1 fell by 3\.20 points.*--force takes it")
    assert sent(publish(repository, 2, place.address, force=True)) == WHOLE


def test_a_damaged_file_is_not_sent(repository: Repository, place: Place) -> None:
    (repository.version_dir(2) / "model.bin").write_bytes(b"damaged")

    refused(repository, place, RepositoryError, r"2/model\.bin is not the file that was published")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"files": {"../../secret": "0" * 64, "model.xml": "0" * 64}}, "is not the name of"),
        (
            {"files": {"manifest.json": "0" * 64, "model.xml": "0" * 64}},
            "is not the name of",
        ),
        ({"files": {"model.bin": "0" * 64}}, r"lists no model\.xml and no model\.onnx"),
    ],
)
def test_a_card_that_cannot_be_is_refused(
    repository: Repository, tmp_path: Path, changes: dict[str, object], match: str
) -> None:
    write_manifest(repository.version_dir(2), **changes)
    to = tmp_path / "elsewhere"

    with pytest.raises(RepositoryError, match=match):
        publish(repository, 2, Address.parse(str(to)))
    assert not to.exists()


def test_without_a_card_nothing_can_be_verified(repository: Repository, tmp_path: Path) -> None:
    (repository.version_dir(2) / "manifest.json").unlink()

    with pytest.raises(RepositoryError, match=r"There is no .*manifest\.json"):
        publish(repository, 2, Address.parse(str(tmp_path / "elsewhere")))


@pytest.mark.parametrize("inside", ["elsewhere", "bert-qa", "bert-qa/1", ".bert-qa", "a/../b"])
def test_a_target_inside_the_source_is_refused(inside: str, repository: Repository) -> None:
    before = sorted(repository.root.rglob("*"))
    with pytest.raises(StorageError, match="is inside the repository that has the version"):
        publish(repository, 1, Address.parse(f"{repository.root}/{inside}"))
    assert sorted(repository.root.rglob("*")) == before


@pytest.mark.parametrize("model", ["", ".", "..", "../model_repository/bert-qa", "/bert-qa"])
def test_a_model_that_is_a_path_is_refused(
    model: str, repository: Repository, tmp_path: Path
) -> None:
    with pytest.raises(InvalidOptionError, match="pass the name of a model's directory"):
        publish(repository, 1, Address.parse(str(tmp_path / "to")), model)
    assert not (tmp_path / "to").exists()


def test_a_version_is_signed_where_it_is_and_goes_with_its_signatures(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path)
    signatures = {f"{model}/2/manifest.json.sig" for model in ("bert-qa", "bert-qa-onnx")}

    published = publish(repository, 2, place.address, sign=keys.sign, verify=None)

    ours = {path: c for path, c in files_of(repository.root).items() if "/2/" in path}
    assert place.contents() == ours
    assert sent(published) == WHOLE | signatures
    assert sent(publish(repository, 2, place.address, sign=keys.sign, verify=keys.verify)) == set()


def test_a_signature_is_added_to_what_was_published_without(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    publish(repository, 2, place.address)

    added = sent(publish(repository, 2, place.address, sign=write_keys(tmp_path).sign))

    assert added == {f"{model}/2/manifest.json.sig" for model in ("bert-qa", "bert-qa-onnx")}
    ours = {path: c for path, c in files_of(repository.root).items() if "/2/" in path}
    assert place.contents() == ours


def test_what_a_key_did_not_sign_is_not_published(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path)
    with pytest.raises(SignatureError, match=r"2/manifest\.json\.sig is missing, so the ver"):
        publish(repository, 2, place.address, verify=keys.verify)
    theirs = write_keys(tmp_path, "theirs")
    with pytest.raises(SignatureError, match="not signed"):
        publish(repository, 2, place.address, sign=theirs.sign, verify=keys.verify)
    assert place.contents() == {}
