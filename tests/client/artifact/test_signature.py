"""Signed versions: what passes, and what of everything that can be changed is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bertqa.artifact import (
    SIGNATURE_FILE,
    WORK_FOLDER,
    Draft,
    Repository,
    SigningKey,
    VerifyKey,
    VersionManifest,
    publish_served,
    require_signed,
    sign_version,
)
from bertqa.errors import InvalidOptionError, RepositoryError, SignatureError
from tests.support.keys import KeyPair, write_keys

FILES = ("model.xml", "model.bin")


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_keys(tmp_path)


@pytest.fixture
def drafts(tmp_path: Path) -> list[Draft]:
    """A version in both formats."""
    (tmp_path / "made").mkdir()
    for name in (*FILES, "model.onnx"):
        (tmp_path / "made" / name).write_text(name, encoding="utf-8")
    return [
        Draft(
            VersionManifest(model, 0, "int8", kind, "tests", "", {}),
            {name: tmp_path / "made" / name for name in names},
        )
        for model, kind, names in (
            ("bert-qa-onnx", "onnx", ("model.onnx",)),
            ("bert-qa", "openvino", FILES),
        )
    ]


@pytest.fixture
def repository(tmp_path: Path, drafts: list[Draft], keys: KeyPair) -> Repository:
    """A repository with version 1, signed, and version 2, which is not."""
    repository = Repository(tmp_path / "repository")
    publish_served(repository, drafts, key=keys.sign)
    publish_served(repository, drafts)
    return repository


def test_a_version_appears_signed_in_each_format(repository: Repository, keys: KeyPair) -> None:
    for model in ("bert-qa", "bert-qa-onnx"):
        require_signed(repository.version_dir(1, model), keys.verify)
    with pytest.raises(
        SignatureError, match=r"2/manifest\.json\.sig is missing, so the version is n"
    ):
        require_signed(repository.version_dir(2), keys.verify)


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
def test_the_library_s_own_verifier_accepts_it(
    repository: Repository, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    from model_signing import verifying

    pair = write_keys(tmp_path, "other", curve)
    sign_version(repository, 2, "bert-qa", pair.sign)

    directory = repository.version_dir(2)
    config: Any = verifying.Config
    verifier = config().use_elliptic_key_verifier(public_key=pair.public)
    verifier.verify(directory / "manifest.json", directory / SIGNATURE_FILE)


def changed_manifest(directory: Path) -> str:
    path = directory / "manifest.json"
    path.write_text(path.read_text().replace('"int8"', '"INT8"'), encoding="utf-8")
    return r"manifest\.json\.sig does not fit .*manifest\.json, which was changed"


def changed_file(directory: Path) -> str:
    (directory / "model.bin").write_text("other", encoding="utf-8")
    return r"model\.bin is missing, or is not the file that was signed"


def changed_file_with_its_digest(directory: Path) -> str:
    changed_file(directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["model.bin"] = "0" * 64
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return r"manifest\.json, which was changed"


def missing_file(directory: Path) -> str:
    (directory / "model.xml").unlink()
    return r"model\.xml is missing"


def added_model(directory: Path) -> str:
    (directory / "model.onnx").write_text("another", encoding="utf-8")
    return r"model\.onnx is not among the files that were signed: remove it"


def removed_signature(directory: Path) -> str:
    (directory / SIGNATURE_FILE).unlink()
    return r"manifest\.json\.sig is missing, so the version is not signed"


def signature_of_another_version(directory: Path) -> str:
    other = directory.parents[1] / "bert-qa-onnx" / directory.name
    shutil.copy(other / SIGNATURE_FILE, directory)
    return "does not fit"


def removed_manifest(directory: Path) -> str:
    (directory / "manifest.json").unlink()
    return "is not one of"


def version_for_ovms_alone(directory: Path) -> str:
    shutil.copytree(directory, directory.with_name("2.tmp"))
    return r"2\.tmp is a version for OVMS"


def graph_for_ovms(directory: Path) -> str:
    (directory.parent / "graph.pbtxt").touch()
    return r"bert-qa/graph\.pbtxt is a graph, which OVMS would serve in place of the versions"


def linked_file(directory: Path) -> str:
    """Digest and name fit, but a server in a container may find another file there."""
    weights = directory / "model.bin"
    weights.rename(directory.parents[1] / "weights")
    weights.symlink_to(directory.parents[1] / "weights")
    return r"1/model\.bin is a symbolic link"


def linked_version(directory: Path) -> str:
    moved = directory.rename(directory.parents[1] / "moved")
    directory.symlink_to(moved)
    return r"bert-qa/1 is a symbolic link"


def linked_model(directory: Path) -> str:
    moved = directory.parent.rename(directory.parents[1] / "moved")
    directory.parent.symlink_to(moved)
    return r"/bert-qa is a symbolic link"


def manifest_and_signature_of_another_version(directory: Path) -> str:
    """The files of version 1 with all that says so exchanged for those of version 2."""
    other = directory.with_name("2")
    for name in ("manifest.json", SIGNATURE_FILE):
        shutil.copy(other / name, directory)
    return r"was signed as that of version 2 of bert-qa, so .*/1 is a copy"


@pytest.mark.parametrize(
    "change",
    [
        changed_manifest,
        changed_file,
        changed_file_with_its_digest,
        missing_file,
        added_model,
        removed_signature,
        signature_of_another_version,
        removed_manifest,
        version_for_ovms_alone,
        graph_for_ovms,
        linked_file,
        linked_version,
        linked_model,
    ],
)
def test_what_was_changed_is_refused(
    repository: Repository, keys: KeyPair, change: Callable[[Path], str]
) -> None:
    directory = repository.version_dir(1)
    match = change(directory)
    with pytest.raises(SignatureError, match=match):
        require_signed(directory, keys.verify)


def test_a_graph_in_version_1_hides_the_others(repository: Repository, keys: KeyPair) -> None:
    """OVMS looks there as well, whichever version is verified and served."""
    sign_version(repository, 2, "bert-qa", keys.sign)
    require_signed(repository.version_dir(2), keys.verify)
    (repository.version_dir(1) / "graph.pbtxt").touch()
    with pytest.raises(SignatureError, match=r"1/graph\.pbtxt is a graph"):
        require_signed(repository.version_dir(2), keys.verify)


def test_a_configuration_that_no_server_takes_does_not_hinder_signing(
    repository: Repository, keys: KeyPair
) -> None:
    repository.config_path.write_text("not JSON", encoding="utf-8")
    sign_version(repository, 2, "bert-qa", keys.sign)
    require_signed(repository.version_dir(2), keys.verify)
    assert repository.config_path.read_text(encoding="utf-8") == "not JSON"


def test_signed_versions_whose_directories_were_exchanged_are_refused(
    repository: Repository, keys: KeyPair
) -> None:
    sign_version(repository, 2, "bert-qa", keys.sign)
    one, two = repository.version_dir(1), repository.version_dir(2)
    one.rename(one.with_name("one"))
    two.rename(one)
    one.with_name("one").rename(two)
    for directory in (one, two):
        with pytest.raises(SignatureError, match="is a copy under another number"):
            require_signed(directory, keys.verify)


def test_a_version_with_the_signed_manifest_of_another_is_refused(
    repository: Repository, keys: KeyPair
) -> None:
    sign_version(repository, 2, "bert-qa", keys.sign)
    match = manifest_and_signature_of_another_version(repository.version_dir(1))
    with pytest.raises(SignatureError, match=match):
        require_signed(repository.version_dir(1), keys.verify)


def test_another_key_s_version_is_refused(repository: Repository, tmp_path: Path) -> None:
    other = write_keys(tmp_path, "other")
    with pytest.raises(SignatureError, match=r"with another key than that of .*other\.public\.pem"):
        require_signed(repository.version_dir(1), other.verify)


def test_a_path_is_named_as_it_is(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_keys(tmp_path, "other")
    model = repository.version_dir(1).parent
    monkeypatch.chdir(model.parent)
    with pytest.raises(SignatureError, match=f"^{model.name}/1/manifest"):
        require_signed(Path(model.name, "1"), other.verify)


def test_a_signature_that_claims_our_key_is_refused(
    repository: Repository, keys: KeyPair, tmp_path: Path
) -> None:
    """The name of the key in a signature is not part of what is signed."""
    directory = repository.version_dir(1)
    ours = json.loads((directory / SIGNATURE_FILE).read_text())
    sign_version(repository, 1, "bert-qa", write_keys(tmp_path, "other").sign)
    theirs = json.loads((directory / SIGNATURE_FILE).read_text())
    unnamed: dict[str, Any] = {"tlogEntries": [], "publicKey": {}}
    for claimed in (ours["verificationMaterial"], unnamed):
        theirs["verificationMaterial"] = claimed
        (directory / SIGNATURE_FILE).write_text(json.dumps(theirs), encoding="utf-8")
        with pytest.raises(SignatureError, match="is not one of"):
            require_signed(directory, keys.verify)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "\x00", '{"verificationMaterial": {}}', "[" * 9999]
)
def test_a_text_that_cannot_be_a_signature_is_refused(
    repository: Repository, keys: KeyPair, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = repository.version_dir(1)
    (directory / SIGNATURE_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(SignatureError, match=r"manifest\.json\.sig is not one of .*manifest\.json"):
        require_signed(directory, keys.verify)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["bert-qa/7", "other/1"])
def test_a_signed_version_under_another_number_or_name_is_refused(
    repository: Repository, keys: KeyPair, name: str
) -> None:
    copy = repository.root / name
    shutil.copytree(repository.version_dir(1), copy)
    with pytest.raises(SignatureError, match=f"version 1 of bert-qa, so .*{name} is a copy"):
        require_signed(copy, keys.verify)


def test_signing_what_is_published_keeps_one_s_own_and_replaces_others(
    repository: Repository, keys: KeyPair, tmp_path: Path
) -> None:
    path = repository.version_dir(1) / SIGNATURE_FILE
    before = path.read_text()
    sign_version(repository, 1, "bert-qa", keys.sign)
    assert path.read_text() == before

    other = write_keys(tmp_path, "other")
    sign_version(repository, 1, "bert-qa", other.sign)
    for model in ("bert-qa", "bert-qa-onnx"):
        require_signed(repository.version_dir(1, model), other.verify)
    assert path.stat().st_mode & 0o777 == 0o644
    assert not list((repository.root / WORK_FOLDER).glob("*.partial"))


def test_a_version_that_was_changed_is_not_signed(repository: Repository, keys: KeyPair) -> None:
    changed_file(repository.version_dir(2))
    with pytest.raises(RepositoryError, match=r"model\.bin is not the file .*nothing was signed"):
        sign_version(repository, 2, "bert-qa", keys.sign)
    assert not (repository.version_dir(2) / SIGNATURE_FILE).exists()


def test_nothing_is_written_through_a_link_in_the_signature_s_place(
    repository: Repository, keys: KeyPair, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine", encoding="utf-8")
    (repository.version_dir(2) / SIGNATURE_FILE).symlink_to(mine)
    with pytest.raises(RepositoryError, match=r"manifest\.json\.sig is a symbolic link"):
        sign_version(repository, 2, "bert-qa", keys.sign)
    assert mine.read_text() == "mine"


@pytest.fixture
def wrong(tmp_path: Path) -> Callable[[str], Path]:
    """A file without a key that can be used, by what it holds."""

    def wrong(kind: str) -> Path:
        pem, pkcs8 = Encoding.PEM, PrivateFormat.PKCS8
        ours, curve = write_keys(tmp_path, "right"), ec.generate_private_key(ec.SECP256K1())
        one_of_rsa = rsa.generate_private_key(65537, 2048)
        contents = {
            "empty": b"",
            "private": ours.private.read_bytes(),
            "public": ours.public.read_bytes(),
            "rsa": one_of_rsa.private_bytes(pem, pkcs8, NoEncryption())
            + one_of_rsa.public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo),
            "another curve": curve.private_bytes(pem, pkcs8, NoEncryption()),
            "encrypted": curve.private_bytes(pem, pkcs8, BestAvailableEncryption(b"secret")),
        }
        path = tmp_path / "wrong.pem"
        path.write_bytes(contents[kind])
        return path

    return wrong


@pytest.mark.parametrize("kind", ["empty", "public", "rsa", "another curve", "encrypted"])
def test_what_cannot_sign_is_refused(wrong: Callable[[str], Path], kind: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"wrong\.pem is not a private key"):
        SigningKey(wrong(kind))


@pytest.mark.parametrize("kind", ["empty", "private", "rsa", "another curve"])
def test_what_cannot_verify_is_refused(wrong: Callable[[str], Path], kind: str) -> None:
    with pytest.raises(InvalidOptionError, match=r"wrong\.pem is not a public key .* -pubout"):
        VerifyKey(wrong(kind))
