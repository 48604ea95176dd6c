"""Signing and verifying on the command line: `--sign`, `--verify-key`, `versions verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bertqa.artifact import Repository, sign_version
from tests.cli.conftest import Invoke
from tests.support.keys import KeyPair, write_keys
from tests.support.models import write_published_version


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_keys(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "model_repository"
    for version in (1, 2):
        write_published_version(root, version)
    return root


def test_what_is_signed_while_it_is_published_verifies_here_and_there(
    invoke: Invoke, root: Path, keys: KeyPair, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    arguments = ("--repository", str(root), "--to", str(there))
    published = invoke("publish", "1", *arguments, "--sign", str(keys.private))
    assert published.status == 0, published.err
    assert "7 files sent" in published.out

    for place in (root, there):
        verified = invoke(
            *("versions", "verify", "1", "--repository", str(place)),
            *("--verify-key", str(keys.public), "--json"),
        )
        assert verified.status == 0, verified.err
        assert [Path(each).parent.name for each in json.loads(verified.out)["verified"]] == [
            "bert-qa",
            "bert-qa-onnx",
        ]

    shown = invoke("versions", "show", "1", "--repository", str(root), "--json")
    assert [each["is_signed"] for each in json.loads(shown.out)["formats"]] == [True, True]
    latest = invoke(
        *("versions", "verify", "--repository", str(root), "--verify-key", str(keys.public))
    )
    assert latest.status == 1
    assert "bert-qa/2/manifest.json.sig" in latest.err.replace("\n", "")


def test_all_versions_are_verified_where_they_are_asked_for(
    invoke: Invoke, root: Path, keys: KeyPair, tmp_path: Path
) -> None:
    sign_version(Repository(root), 2, "bert-qa", keys.sign)
    arguments = ("versions", "verify", "--verify-key", str(keys.public), "--repository")
    assert invoke(*arguments, str(root)).status == 0
    refused = invoke(*arguments, str(root), "--all")
    assert refused.status == 1
    assert "bert-qa/1/manifest.json.sig" in refused.err.replace("\n", "")
    sign_version(Repository(root), 1, "bert-qa", keys.sign)
    verified = invoke(*arguments, str(root), "--all", "--json")
    assert len(json.loads(verified.out)["verified"]) == 4
    assert invoke(*arguments, str(root), "--all", "1").status == 2
    (tmp_path / "empty" / "bert-qa").mkdir(parents=True)
    empty = invoke(*arguments, str(tmp_path / "empty"), "--all")
    assert (empty.status, empty.out) == (1, "")


@pytest.mark.parametrize(
    "verb",
    [
        ("publish", "1", "--to", "{there}"),
        ("switch", "--to", "1", "--release", "qa"),
        ("serve", "--dry-run", "--engine", "local"),
        ("azureml", "deploy", "--version", "1"),
    ],
    ids=lambda verb: verb[0],
)
def test_each_verb_refuses_what_the_key_did_not_sign_before_any_work(
    invoke: Invoke, root: Path, keys: KeyPair, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    there = tmp_path / "there"
    arguments = [each.format(there=there) for each in verb]
    result = invoke(*arguments, "--repository", str(root), "--verify-key", str(keys.public))
    assert (result.status, result.out) == (1, "")
    assert "/1/manifest.json.sig is missing, so the version is not signed" in (
        " ".join(result.err.split())
    )
    assert not there.exists()
    assert not (root / "config.json").exists()


def test_a_release_s_version_has_to_be_here_to_be_verified(
    invoke: Invoke, root: Path, keys: KeyPair
) -> None:
    result = invoke(
        *("switch", "--to", "9", "--release", "qa", "--repository", str(root)),
        *("--verify-key", str(keys.public)),
    )
    assert result.status == 1
    assert "no version 9 of bert-qa" in result.err


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("publish", "--to", "there", "--sign"), "private"),
        (("publish", "--to", "there", "--verify-key"), "public"),
        (("pull", "there", "--sign"), "private"),
        (("pull", "there", "--verify-key"), "public"),
        (("build", "--source", "there", "--data", ".", "--sign"), "private"),
        (("switch", "--to", "1", "--verify-key"), "public"),
        (("serve", "--verify-key"), "public"),
        (("versions", "verify", "--verify-key"), "public"),
        (("azureml", "deploy", "--version", "1", "--verify-key"), "public"),
    ],
)
def test_a_file_without_a_key_is_wrong_usage(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], kind: str
) -> None:
    path = tmp_path / "key.pem"
    path.write_text("no key", encoding="utf-8")
    result = invoke(*arguments, str(path))
    assert result.status == 2
    assert f"is not a {kind} key" in " ".join(result.err.split())


def test_without_the_library_the_extra_is_named(
    invoke: Invoke, root: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "model_signing"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if not _has_library(each)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.setitem(sys.modules, "model_signing", None)
    result = invoke(
        *("versions", "verify", "--repository", str(root), "--verify-key", str(keys.public))
    )
    assert result.status == 1
    assert "pip install '.[sign]'" in result.err.replace("\n", " ")


def _has_library(path: str) -> bool:
    return Path(path, "model_signing").is_dir()
