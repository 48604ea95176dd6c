"""Serving what is signed, and nothing else: at the start, and while the server runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import Repository, VerifyKey, sign_version
from bertqa.errors import (
    ConfigError,
    InvalidOptionError,
    RepositoryError,
    SignatureError,
)
from bertqa_serve import signed
from bertqa_serve.launcher import dry_run, running
from bertqa_serve.options import ServeOptions
from bertqa_serve.signed import SignedVersions
from tests.serve.test_launcher import nothing, options
from tests.support.keys import KeyPair, write_keys
from tests.support.models import write_config, write_published_version
from tests.support.ports import free_port


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return write_keys(tmp_path)


@pytest.fixture
def repository(tmp_path: Path, keys: KeyPair) -> Repository:
    """Version 1 is signed, and version 2 is not."""
    repository = Repository(tmp_path / "models")
    for version in (1, 2):
        write_published_version(repository.root, version)
    sign_version(repository, 1, "bert-qa", keys.sign)
    return repository


def check(repository: Repository, key: VerifyKey | None) -> None:
    SignedVersions(repository, "bert-qa", key).check()


def test_all_that_the_configuration_serves_is_verified(
    repository: Repository, keys: KeyPair
) -> None:
    root = repository.root
    with pytest.raises(SignatureError, match="bert-qa/2/"):
        check(repository, keys.verify)  # Without a config.json all are served.
    write_config(root, policy={"latest": {"num_versions": 1}})
    with pytest.raises(SignatureError, match="bert-qa/2/"):
        check(repository, keys.verify)
    write_config(root, policy={"specific": {"versions": [1]}})
    check(repository, keys.verify)
    write_config(root, "bert-qa-onnx", policy={"specific": {"versions": [2]}})
    with pytest.raises(SignatureError, match="bert-qa-onnx/2/"):
        check(repository, keys.verify)


@pytest.mark.parametrize("own", [("--cache_dir", "cache"), ("--cache_dir=cache",)])
def test_what_ovms_has_compiled_has_no_signature(keys: KeyPair, own: tuple[str, ...]) -> None:
    assert ServeOptions(Path(), own=own)
    with pytest.raises(InvalidOptionError, match="cannot have --cache_dir with --verify-key"):
        ServeOptions(Path(), own=own, verify=keys.verify)


def test_without_a_key_nothing_is_verified(repository: Repository) -> None:
    check(repository, None)


def test_a_split_s_report_needs_no_signature(repository: Repository, keys: KeyPair) -> None:
    write_config(
        repository.root, "bert-qa", "bert-qa-traffic", policy={"specific": {"versions": [1]}}
    )
    (repository.root / "bert-qa-traffic" / "1").mkdir(parents=True)
    check(repository, keys.verify)


Edit = Callable[[Path, dict[str, Any]], str]


def another_before_it(root: Path, config: dict[str, Any]) -> str:
    shutil.move(root / "bert-qa-onnx", root / "other")
    config["model_config_list"].insert(0, entry("bert-qa", "other"))
    return "has the model bert-qa twice, of which OVMS serves the first"


def one_that_is_named_as_a_split(root: Path, config: dict[str, Any]) -> str:
    shutil.move(root / "bert-qa", root / "bert-qa-traffic")
    config["model_config_list"] = [entry("bert-qa", "bert-qa-traffic"), entry("other", "bert-qa")]
    return "bert-qa-traffic as bert-qa: what is signed is served under its own name"


def one_under_another_name(root: Path, config: dict[str, Any]) -> str:
    config["model_config_list"][0]["config"]["name"] = "other"
    return "bert-qa as other: what is signed is served under its own name"


def one_without_a_number(root: Path, config: dict[str, Any]) -> str:
    shutil.rmtree(root / "bert-qa" / "2")
    (root / "bert-qa" / "1").rename(root / "bert-qa" / "02")
    return "bert-qa/02 is a version for OVMS"


def a_single_file(root: Path, config: dict[str, Any]) -> str:
    (root / "bert-qa" / "1" / "model.xml").rename(root / "model.xml")
    config["model_config_list"][0] = entry("model.xml", "model.xml")
    return "model.xml is a single file"


def no_place(root: Path, config: dict[str, Any]) -> str:
    del config["model_config_list"][0]["config"]["base_path"]
    return "has no base_path for bert-qa"


def a_graph_in_a_split(root: Path, config: dict[str, Any]) -> str:
    (root / "bert-qa-traffic" / "1").mkdir(parents=True)
    (root / "bert-qa-traffic" / "1" / "graph.pbtxt").touch()
    config["model_config_list"].append(entry("bert-qa-traffic", "bert-qa-traffic"))
    return "graph.pbtxt is a graph"


def a_graph_elsewhere(root: Path, config: dict[str, Any]) -> str:
    config["model_config_list"][0]["config"]["graph_path"] = "other.pbtxt"
    return "has graph_path for bert-qa"


def a_loader(root: Path, config: dict[str, Any]) -> str:
    config["custom_loader_config_list"] = [{"config": {}}]
    return "has custom_loader_config_list, by which OVMS serves what has no signature"


def a_graph_beside_it(root: Path, config: dict[str, Any]) -> str:
    config["mediapipe_config_list"] = [{"name": "other"}]
    return "has mediapipe_config_list"


def entry(name: str, place: str) -> dict[str, Any]:
    policy = {"specific": {"versions": [1]}}
    return {"config": {"name": name, "base_path": place, "model_version_policy": policy}}


@pytest.mark.parametrize(
    "edit",
    [
        another_before_it,
        one_that_is_named_as_a_split,
        one_under_another_name,
        one_without_a_number,
        a_single_file,
        no_place,
        a_graph_in_a_split,
        a_graph_elsewhere,
        a_loader,
        a_graph_beside_it,
    ],
)
def test_no_configuration_serves_what_is_not_signed(
    repository: Repository, keys: KeyPair, edit: Edit
) -> None:
    config: dict[str, Any] = {"model_config_list": [entry("bert-qa", "bert-qa")]}
    path = repository.config_path
    path.write_text(json.dumps(config), encoding="utf-8")
    check(repository, keys.verify)
    match = edit(repository.root, config)
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(SignatureError, match=match):
        check(repository, keys.verify)


def test_a_switch_may_ask_a_signed_version_by_another_name_first(
    repository: Repository, keys: KeyPair
) -> None:
    config = {"model_config_list": [entry("bert-qa-trial", "bert-qa"), entry("bert-qa", "bert-qa")]}
    repository.config_path.write_text(json.dumps(config), encoding="utf-8")
    check(repository, keys.verify)
    weights = repository.version_dir(1) / "model.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(SignatureError, match=r"model\.bin"):
        check(repository, keys.verify)


def test_empty_lists_of_what_ovms_serves_beside_models_are_nothing(
    repository: Repository, keys: KeyPair
) -> None:
    config = {
        "model_config_list": [entry("bert-qa", "bert-qa")],
        "mediapipe_config_list": [],
        "monitoring": {"metrics": {"enable": True}},
    }
    repository.config_path.write_text(json.dumps(config), encoding="utf-8")
    check(repository, keys.verify)


def test_what_stands_twice_in_one_object_is_not_guessed(
    repository: Repository, keys: KeyPair
) -> None:
    """OVMS takes the first, Python's reader the last."""
    path = write_config(repository.root, policy={"specific": {"versions": [1]}})
    text = path.read_text()
    path.write_text(text.replace('"versions"', '"versions": [2], "versions"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="the key 'versions' stands twice"):
        check(repository, keys.verify)


def test_without_a_configuration_too_each_version_has_a_number(
    repository: Repository, keys: KeyPair
) -> None:
    for version in (1, 2):
        repository.version_dir(version).rename(repository.root / "bert-qa" / f"{version}.tmp")
    with pytest.raises(SignatureError, match=r"bert-qa/1\.tmp is a version for OVMS"):
        check(repository, keys.verify)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed, "_LOOK_SECONDS", 0.0)


@pytest.mark.usefixtures("impatient")
def test_a_version_that_is_changed_or_replaced_later_is_verified_again(
    repository: Repository, keys: KeyPair
) -> None:
    write_config(repository.root, policy={"specific": {"versions": [1]}})
    versions = SignedVersions(repository, "bert-qa", keys.verify)
    versions.look()
    directory = repository.version_dir(1)
    kept = directory.rename(repository.root / "kept")
    versions.look()
    shutil.copytree(kept, directory)
    versions.look()
    weights = directory / "model.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(SignatureError, match=r"model\.bin"):
        versions.look()


@pytest.mark.usefixtures("impatient")
def test_a_version_is_read_again_only_after_a_change(
    repository: Repository, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(repository.root, policy={"specific": {"versions": [1]}})
    read: list[Path] = []
    monkeypatch.setattr(signed, "require_signed", lambda directory, _: read.append(directory))
    versions = SignedVersions(repository, "bert-qa", keys.verify)
    for _ in range(3):
        versions.look()
    assert read == [repository.version_dir(1)]


@pytest.mark.usefixtures("impatient")
def test_a_configuration_that_stays_unreadable_is_refused(
    repository: Repository, keys: KeyPair
) -> None:
    path = write_config(repository.root, policy={"specific": {"versions": [1]}})
    text = path.read_text()
    versions = SignedVersions(repository, "bert-qa", keys.verify)
    for _ in range(2):
        path.write_text(text[:9], encoding="utf-8")
        versions.look()
        path.write_text(text, encoding="utf-8")
        versions.look()
    path.write_text(text[:9], encoding="utf-8")
    versions.look()
    with pytest.raises(SignatureError, match="What is served cannot be verified"):
        versions.look()


def test_a_store_that_the_server_reads_itself_is_refused(
    repository: Repository, keys: KeyPair
) -> None:
    path = write_config(repository.root, policy={"specific": {"versions": [1]}})
    text = path.read_text().replace(str(repository.root), "s3://bucket/models")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        SignatureError, match=r"serves bert-qa from s3://bucket/models/bert-qa, whi"
    ):
        check(repository, keys.verify)


def test_a_relative_place_is_that_of_the_configuration(
    repository: Repository, keys: KeyPair
) -> None:
    path = write_config(repository.root, policy={"specific": {"versions": [1]}})
    path.write_text(path.read_text().replace(f"{repository.root}/", "./"), encoding="utf-8")
    check(repository, keys.verify)
    weights = repository.version_dir(1) / "model.bin"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(SignatureError, match=r"model\.bin"):
        check(repository, keys.verify)


def test_what_is_not_signed_is_refused_before_a_server_starts(
    repository: Repository, keys: KeyPair
) -> None:
    wanted = options(repository.root, verify=keys.verify)
    for start in (lambda: dry_run(wanted), lambda: running(wanted, log=nothing).__enter__()):
        with pytest.raises(SignatureError, match=r"bert-qa/2/manifest\.json\.sig"):
            start()
    assert not repository.config_path.exists()
    with pytest.raises(RepositoryError, match="no model repository"):
        dry_run(options(repository.root / "none", verify=keys.verify))


def test_a_version_that_appears_without_a_signature_ends_the_server(
    repository: Repository, keys: KeyPair
) -> None:
    write_config(repository.root)
    sign_version(repository, 2, "bert-qa", keys.sign)
    ports = ("--port", str(free_port()), "--rest-port", str(free_port()))
    place = ("--repository", str(repository.root), "--verify-key", str(keys.public))
    more = ("--engine", "local", "--no-http-api", "--no-warm-up", "--json")
    with subprocess.Popen(
        [sys.executable, "-m", "bertqa_cli.main", "serve", *ports, *place, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        while not printed.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            printed += line
        assert json.loads(printed)["engine"] == "local"

        write_published_version(repository.root, 3)

        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "bert-qa/3/manifest.json" in err.replace("\n", "")
