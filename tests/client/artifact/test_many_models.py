"""Many models in one repository: each is published, and served, beside the others."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bertqa.artifact import (
    WORK_FOLDER,
    Draft,
    OvmsConfig,
    Repository,
    RepositoryWriter,
    VersionManifest,
    file_lock,
    publish_served,
    serve_version,
)
from bertqa.errors import ConfigError, RepositoryError

ALL: dict[str, Any] = {"all": {}}


def draft(tmp_path: Path, model: str) -> Draft:
    file = tmp_path / f"{model}.xml"
    file.write_text(f"<net name='{model}'/>")
    manifest = VersionManifest(model, 0, "int8", "openvino", "tests", "", {})
    return Draft(manifest, {"model.xml": file})


def publish(repository: Repository, tmp_path: Path, *models: str) -> int:
    return publish_served(repository, [draft(tmp_path, each) for each in models])


def entries(repository: Repository) -> dict[str, dict[str, Any]]:
    content = json.loads(repository.config_path.read_text(encoding="utf-8"))
    return {each["config"]["name"]: each["config"] for each in content["model_config_list"]}


def usual(name: str) -> dict[str, Any]:
    return {"name": name, "base_path": name, "model_version_policy": ALL}


def configure(repository: Repository, *configs: dict[str, Any]) -> None:
    content = {"model_config_list": [{"config": each} for each in configs]}
    repository.root.mkdir(exist_ok=True)
    repository.config_path.write_text(json.dumps(content), encoding="utf-8")


def test_each_model_is_numbered_and_served_by_itself(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "r")
    assert publish(repository, tmp_path, "bert-qa-onnx", "bert-qa") == 1
    assert publish(repository, tmp_path, "bert-qa-onnx", "bert-qa") == 2
    assert publish(repository, tmp_path, "customer-1-onnx", "customer-1") == 1
    assert entries(repository) == {
        "bert-qa": usual("bert-qa"),
        "customer-1": usual("customer-1"),
    }


def test_a_hundred_writers_at_once_lose_no_model(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "r")
    names = [f"customer-{number}" for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda name: publish(repository, tmp_path, name), names)) == {1}
    assert entries(repository).keys() == set(names)
    assert all(repository.versions(name) == [1] for name in names)


def test_a_new_model_is_served_like_the_one_beside_it(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "r")
    properties = {"NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "4"}
    first = {
        "name": "bert-qa",
        "base_path": "s3://models/qa/bert-qa",
        "model_version_policy": {"specific": {"versions": [1]}},
        "plugin_config": properties,
        "nireq": 3,
    }
    configure(repository, first)
    (repository.root / "bert-qa").mkdir()
    publish(repository, tmp_path, "customer-1")
    assert entries(repository) == {
        "bert-qa": first,
        "customer-1": {
            "name": "customer-1",
            "base_path": "s3://models/qa/customer-1",
            "model_version_policy": ALL,
            "plugin_config": properties,
        },
    }


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "customer-1", "base_path": "/elsewhere", "nireq": 2},
        {"name": "production", "base_path": "/models/customer-1/"},
    ],
)
def test_an_entry_of_its_own_stays_as_it_is(tmp_path: Path, entry: dict[str, Any]) -> None:
    repository = Repository(tmp_path / "r")
    configure(repository, entry)
    before = repository.config_path.stat().st_mtime_ns
    assert publish(repository, tmp_path, "customer-1") == 1
    assert entries(repository) == {entry["name"]: entry}
    assert repository.config_path.stat().st_mtime_ns == before


def test_a_configuration_that_no_server_takes_is_refused_before_a_version_appears(
    tmp_path: Path,
) -> None:
    repository = Repository(tmp_path / "r")
    repository.root.mkdir()
    repository.config_path.write_text("not JSON", encoding="utf-8")
    with pytest.raises(ConfigError, match=str(repository.config_path)):
        publish(repository, tmp_path, "customer-1")
    assert [path.name for path in repository.root.iterdir()] == ["config.json"]
    assert repository.config_path.read_text(encoding="utf-8") == "not JSON"


def test_a_version_that_is_there_is_served_and_once_only(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "r")
    publish(repository, tmp_path, "customer-1")
    configure(repository, usual("bert-qa"))
    serve_version(repository, 1, "customer-1")
    assert entries(repository) == {each: usual(each) for each in ("bert-qa", "customer-1")}
    before = repository.config_path.stat().st_mtime_ns
    with file_lock(repository.root / WORK_FOLDER / "lock"):  # Nothing waits for it.
        serve_version(repository, 1, "customer-1")
    assert repository.config_path.stat().st_mtime_ns == before


def test_a_new_model_takes_nothing_from_one_that_lies_elsewhere(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "r")
    other = {"name": "ocr", "base_path": "/opt/models/ocr", "plugin_config": {"NUM_STREAMS": "9"}}
    configure(repository, other)
    publish(repository, tmp_path, "customer-1")
    assert entries(repository) == {
        "ocr": other,
        "customer-1": usual("customer-1"),
    }


def test_an_entry_without_a_name_is_not_lost(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "r")
    nameless = {"base_path": "/opt/models/ocr"}
    configure(repository, nameless)
    publish(repository, tmp_path, "customer-1")
    content = json.loads(repository.config_path.read_text(encoding="utf-8"))
    found = [each["config"] for each in content["model_config_list"]]
    assert found[0] == nameless
    assert [each.get("name") for each in found] == [None, "customer-1"]


def test_a_change_by_a_program_without_the_lock_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "r")
    configure(repository, {"name": "a", "base_path": "a"})
    replace = RepositoryWriter.replace_config
    others = iter(("b", "c"))

    def changed_before(writer: RepositoryWriter, read: OvmsConfig, text: str) -> OvmsConfig:
        if other := next(others, None):
            configure(repository, {"name": other, "base_path": other})
        return replace(writer, read, text)

    monkeypatch.setattr(RepositoryWriter, "replace_config", changed_before)
    assert publish(repository, tmp_path, "customer-1") == 1
    assert list(entries(repository)) == ["c", "customer-1"]


def test_where_the_file_cannot_be_written_the_version_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "r")
    configure(repository, {"name": "a", "base_path": "a"})

    def refuse(*_: object) -> OvmsConfig:
        raise RepositoryError("config.json cannot be written: Read-only file system.")

    monkeypatch.setattr(RepositoryWriter, "replace_config", refuse)
    with pytest.raises(RepositoryError, match=r"^Version 1 of customer-1 is published, but not"):
        publish(repository, tmp_path, "customer-1")
    assert repository.versions("customer-1") == [1]


def test_an_edit_of_one_model_changes_no_other(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "r")
    for name in ("a", "b", "c"):
        publish(repository, tmp_path, name)
    before = entries(repository)
    with RepositoryWriter(repository) as writer:
        config = OvmsConfig.read(repository.config_path)
        policy = {"specific": {"versions": [1]}}
        edited = config.edited({**config.entry("b"), "model_version_policy": policy})
        writer.replace_config(config, edited.new_text)
    after = entries(repository)
    assert after["b"] == {**before["b"], "model_version_policy": policy}
    assert (after["a"], after["c"]) == (before["a"], before["c"])
