"""Completing a repository's configuration before a server is started on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertqa.errors import ConfigError
from bertqa_serve.errors import RepositoryMissingError
from bertqa_serve.repository import complete_config

CORES = 6
PLUGIN_CONFIG = {"INFERENCE_NUM_THREADS": "6", "NUM_STREAMS": "2"}


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
    assert models(path)[0]["plugin_config"] == {"INFERENCE_NUM_THREADS": "2", "NUM_STREAMS": "2"}
    complete_config(tmp_path, "bert-qa", CORES)
    assert models(path)[0]["plugin_config"] == PLUGIN_CONFIG


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    complete_config(with_version(tmp_path), "bert-qa", CORES, dry_run=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bert-qa"]


def test_a_repository_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(RepositoryMissingError, match=str(missing)):
        complete_config(missing, "bert-qa", CORES)
    with pytest.raises(RepositoryMissingError, match="no version of bert-qa"):
        complete_config(tmp_path, "bert-qa", CORES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", "[]", '{"model_config_list": [1]}'])
def test_a_configuration_that_is_none_is_named_and_left(tmp_path: Path, text: str) -> None:
    path = with_version(tmp_path) / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=str(path)):
        complete_config(tmp_path, "bert-qa", CORES)
    assert path.read_text(encoding="utf-8") == text
