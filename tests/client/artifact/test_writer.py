"""The writer of a repository whose work folder or `config.json` is not as it left it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.artifact import (
    WORK_FOLDER,
    Draft,
    OvmsConfig,
    Repository,
    RepositoryWriter,
    VersionManifest,
)
from bertqa.errors import ConfigError, RepositoryError


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"a model")
    manifest = VersionManifest("bert-qa-onnx", 0, "int8", "onnx", "tests", "", {})
    return Draft(manifest, {"model.onnx": source})


def publish(repository: Repository, draft: Draft) -> int:
    with RepositoryWriter(repository) as writer:
        return writer.publish([draft])


def work_folder(repository: Repository) -> Path:
    return repository.root / WORK_FOLDER


def test_a_number_that_only_a_manifest_s_digest_remembers_is_not_given_again(
    repository: Repository, draft: Draft
) -> None:
    publish(repository, draft)
    record = {"bert-qa-onnx": {"highest": 0, "manifests": {"7": "0" * 64}}}
    (work_folder(repository) / "numbers.json").write_text(json.dumps(record), encoding="utf-8")
    assert publish(repository, draft) == 8


def test_a_negative_number_in_the_record_is_damage(repository: Repository, draft: Draft) -> None:
    publish(repository, draft)
    (work_folder(repository) / "numbers.json").write_text('{"bert-qa-onnx": {"highest": -5}}')
    with pytest.raises(RepositoryError, match=r"numbers\.json .* is damaged"):
        publish(repository, draft)


def test_what_does_not_belong_into_the_work_folder_is_cleared(
    repository: Repository, draft: Draft, tmp_path: Path
) -> None:
    publish(repository, draft)
    work, elsewhere = work_folder(repository), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("kept")
    (work / "journal.json").mkdir()
    (work / "link").symlink_to(elsewhere)
    (work / "dangling").symlink_to(tmp_path / "nowhere")
    (work / "folder" / "inside").mkdir(parents=True)

    assert publish(repository, draft) == 2

    assert {path.name for path in work.iterdir()} <= {"lock", "numbers.json", "copies"}
    assert (elsewhere / "kept").exists()


def test_an_empty_journal_is_dropped(repository: Repository, draft: Draft) -> None:
    publish(repository, draft)
    (work_folder(repository) / "journal.json").write_text("[]")
    assert publish(repository, draft) == 2


@pytest.mark.parametrize(
    "content",
    [
        {"model_config_list": {}},
        {"model_config_list": [{"config": "bert-qa"}]},
        {"model_config_list": [{"config": {"name": "bert-qa", "base_path": 3}}]},
        {"model_config_list": [{}]},
        [],
    ],
)
def test_a_configuration_of_another_form_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a configuration of OVMS"):
        OvmsConfig.read(path)


def test_a_config_that_is_a_link_to_itself_becomes_a_file(
    repository: Repository, draft: Draft
) -> None:
    publish(repository, draft)
    repository.config_path.symlink_to(repository.config_path)
    with RepositoryWriter(repository) as writer:
        writer.write(repository.config_path, "{}")
    assert repository.config_path.read_text(encoding="utf-8") == "{}"
