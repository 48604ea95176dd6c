"""Serving what is signed, and nothing else: at the start, and while the server runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bertqa.artifact import Repository, VerifyKey, sign_version
from bertqa.errors import RepositoryError, SignatureError
from bertqa_serve.launcher import dry_run, running
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


def test_without_a_key_nothing_is_verified(repository: Repository) -> None:
    check(repository, None)


def test_a_split_s_report_needs_no_signature(repository: Repository, keys: KeyPair) -> None:
    write_config(
        repository.root, "bert-qa", "bert-qa-traffic", policy={"specific": {"versions": [1]}}
    )
    (repository.root / "bert-qa-traffic" / "1").mkdir(parents=True)
    check(repository, keys.verify)


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
