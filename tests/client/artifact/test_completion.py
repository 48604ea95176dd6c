"""Completing a repository's configuration before a server is started on it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bertqa.artifact import Repository, RepositoryWriter
from bertqa.artifact import complete_config as complete
from bertqa.errors import ConfigError, RepositoryBusyError, RepositoryError
from tests.support.files import unwritable

CORES = 6
PLUGIN_CONFIG = {"INFERENCE_NUM_THREADS": "6", "NUM_STREAMS": "2", "ENABLE_CPU_PINNING": "NO"}


@pytest.fixture(autouse=True)
def _good_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that needs no precision of its own."""
    monkeypatch.setattr("bertqa.artifact._server_settings.own_precision", lambda: None)


def complete_config(root: Path, model: str, cores: int, *, dry_run: bool = False) -> Path:
    return complete(Repository(root), model, cores, dry_run=dry_run)


def with_version(root: Path) -> Path:
    (root / "bert-qa" / "1").mkdir(parents=True)
    return root


def models(path: Path) -> list[dict[str, object]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return [entry["config"] for entry in content["model_config_list"]]


def test_a_missing_configuration_is_made_for_all_versions(tmp_path: Path) -> None:
    path = complete_config(with_version(tmp_path), "bert-qa", CORES)
    assert path == tmp_path / "config.json"
    assert models(path) == [
        {
            "name": "bert-qa",
            "base_path": "bert-qa",
            "model_version_policy": {"all": {}},
            "plugin_config": PLUGIN_CONFIG,
        }
    ]


def test_what_is_there_stays_and_only_what_lacks_is_added(tmp_path: Path) -> None:
    entries = [
        {"config": {"name": "tuned", "plugin_config": {"NUM_STREAMS": "7"}}},
        {"config": {"name": "bert-qa", "base_path": "bert-qa", "nireq": 3}},
    ]
    path = with_version(tmp_path) / "config.json"
    monitoring = {"metrics": {"enable": True}}
    content = {"model_config_list": entries, "monitoring": monitoring}
    path.write_text(json.dumps(content), encoding="utf-8")
    complete_config(tmp_path, "bert-qa", CORES)
    tuned, ours = models(path)
    assert tuned["plugin_config"] == {"NUM_STREAMS": "7"}
    assert (ours["plugin_config"], ours["nireq"]) == (PLUGIN_CONFIG, 3)
    assert json.loads(path.read_text(encoding="utf-8"))["monitoring"] == monitoring
    before = path.read_bytes()
    complete_config(tmp_path, "bert-qa", CORES)
    assert path.read_bytes() == before


def test_what_was_written_for_another_machine_is_written_anew(tmp_path: Path) -> None:
    path = complete_config(with_version(tmp_path), "bert-qa", 2)
    other = {**PLUGIN_CONFIG, "INFERENCE_NUM_THREADS": "2"}
    assert models(path)[0]["plugin_config"] == other
    complete_config(tmp_path, "bert-qa", CORES)
    assert models(path)[0]["plugin_config"] == PLUGIN_CONFIG


def test_what_an_earlier_release_wrote_is_written_anew_without_pinned_threads(
    tmp_path: Path,
) -> None:
    path = complete_config(with_version(tmp_path), "bert-qa", CORES)
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["model_config_list"][0]["config"]["plugin_config"]["ENABLE_CPU_PINNING"]
    path.write_text(json.dumps(content), encoding="utf-8")
    complete_config(tmp_path, "bert-qa", CORES)
    assert models(path)[0]["plugin_config"] == PLUGIN_CONFIG


def test_a_machine_that_is_slower_in_bf16_gets_a_precision_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = complete_config(with_version(tmp_path), "bert-qa", CORES)
    monkeypatch.setattr("bertqa.artifact._server_settings.own_precision", lambda: "f32")
    complete_config(tmp_path, "bert-qa", CORES)
    found = {**PLUGIN_CONFIG, "INFERENCE_PRECISION_HINT": "f32"}
    assert models(path)[0]["plugin_config"] == found
    complete_config(tmp_path, "bert-qa", CORES)
    assert models(path)[0]["plugin_config"] == found


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    complete_config(with_version(tmp_path), "bert-qa", CORES, dry_run=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bert-qa"]


def test_a_repository_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(RepositoryError, match=str(missing)):
        complete_config(missing, "bert-qa", CORES)
    with pytest.raises(RepositoryError, match="no version of bert-qa"):
        complete_config(tmp_path, "bert-qa", CORES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", "[]", '{"model_config_list": [1]}'])
def test_an_invalid_configuration_is_named_and_left(tmp_path: Path, text: str) -> None:
    path = with_version(tmp_path) / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=str(path)):
        complete_config(tmp_path, "bert-qa", CORES)
    assert path.read_text(encoding="utf-8") == text


def test_properties_that_are_given_are_written_into_every_model(tmp_path: Path) -> None:
    entries = [
        {"config": {"name": "tuned", "plugin_config": {"NUM_STREAMS": "7", "AFFINITY": "CORE"}}},
        {"config": {"name": "bert-qa", "base_path": "bert-qa"}},
    ]
    path = with_version(tmp_path) / "config.json"
    path.write_text(json.dumps({"model_config_list": entries}), encoding="utf-8")
    given = {"INFERENCE_NUM_THREADS": "6", "NUM_STREAMS": "3"}
    complete(Repository(tmp_path), "bert-qa", CORES, given=given)
    tuned, ours = models(path)
    assert tuned["plugin_config"] == {**given, "AFFINITY": "CORE"}
    assert ours["plugin_config"] == {**given, "ENABLE_CPU_PINNING": "NO"}


def test_a_plugin_config_that_is_not_an_object_is_refused(tmp_path: Path) -> None:
    path = with_version(tmp_path) / "config.json"
    entry = {"config": {"name": "bert-qa", "base_path": "bert-qa", "plugin_config": "x"}}
    path.write_text(json.dumps({"model_config_list": [entry]}), encoding="utf-8")
    with pytest.raises(ConfigError, match="plugin_config is not an object"):
        complete_config(tmp_path, "bert-qa", CORES)


def test_a_complete_configuration_is_served_without_a_lock_and_without_writing(
    tmp_path: Path,
) -> None:
    path = complete_config(with_version(tmp_path), "bert-qa", CORES)
    with RepositoryWriter(Repository(tmp_path)):
        assert complete_config(tmp_path, "bert-qa", CORES) == path
    with unwritable(tmp_path):
        assert complete_config(tmp_path, "bert-qa", CORES) == path


def test_a_configuration_that_cannot_be_completed_is_served_as_it_is_with_a_line(
    tmp_path: Path,
) -> None:
    path = complete_config(with_version(tmp_path), "bert-qa", 2)
    before, logged = path.read_bytes(), list[str]()
    with unwritable(tmp_path):
        complete(Repository(tmp_path), "bert-qa", CORES, log=logged.append)
    assert path.read_bytes() == before
    (line,) = logged
    assert "is served as it is, without settings for 6 cores" in line
    assert "cannot be written" in line


def test_a_switch_under_way_keeps_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa.artifact._completion._BUSY_SECONDS", 0.0)
    path = complete_config(with_version(tmp_path), "bert-qa", 2)
    before, logged = path.read_bytes(), list[str]()
    with RepositoryWriter(Repository(tmp_path)):
        complete(Repository(tmp_path), "bert-qa", CORES, log=logged.append)
    assert path.read_bytes() == before
    assert "Another process (a build, publish or switch) writes to" in logged[0]


def test_a_missing_configuration_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with_version(tmp_path)
    with unwritable(tmp_path), pytest.raises(RepositoryError, match="cannot be written"):
        complete_config(tmp_path, "bert-qa", CORES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bert-qa"]


def test_a_missing_configuration_waits_a_moment_for_the_lock_and_names_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa.artifact._completion._BUSY_SECONDS", 0.01)
    with_version(tmp_path)
    with (
        RepositoryWriter(Repository(tmp_path)),
        pytest.raises(RepositoryBusyError, match=rf"for 0\.01 s.*held by process {os.getpid()} on"),
    ):
        complete_config(tmp_path, "bert-qa", CORES)


def test_a_configuration_that_the_other_process_makes_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa.artifact._completion._BUSY_SECONDS", 0.01)
    path = with_version(tmp_path) / "config.json"
    with RepositoryWriter(Repository(tmp_path)):

        def other_writes(_: object) -> None:
            path.write_text('{"model_config_list": []}', encoding="utf-8")

        served = complete(Repository(tmp_path), "bert-qa", CORES, on_progress=other_writes)
    assert served == path


@pytest.mark.parametrize("target", ["nowhere/config.json", "config.json"])
def test_a_configuration_that_is_a_link_to_nothing_is_refused_and_nothing_is_made(
    target: str, tmp_path: Path
) -> None:
    link = with_version(tmp_path) / "config.json"
    link.symlink_to(target)
    with pytest.raises(RepositoryError, match=r"config\.json is a symbolic link to .*Remove the"):
        complete_config(tmp_path, "bert-qa", CORES)
    assert {path.name for path in tmp_path.iterdir()} == {"bert-qa", "config.json"}
