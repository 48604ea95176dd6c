"""Reading `config.json`: OVMS's schema, and what the engine lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertqa.errors import ConfigError
from bertqa_serve.engine.config import ServerConfig

ROOT = Path("/repository")


def parse(entry: dict[str, Any], **others: object) -> ServerConfig:
    content = {"model_config_list": [{"config": {"name": "m", **entry}}], **others}
    return ServerConfig.parse(json.dumps(content), ROOT)


def test_a_relative_base_path_starts_where_the_file_is() -> None:
    assert parse({"base_path": "models"}).models[0].base_path == ROOT / "models"
    assert parse({"base_path": "/models"}).models[0].base_path == Path("/models")


def test_only_the_policy_may_change_without_loading_anew() -> None:
    one, two = parse({}).models[0], parse({"model_version_policy": {"all": {}}}).models[0]
    assert one.loads_like(two)
    for change in ({"nireq": 2}, {"plugin_config": {"A": "1"}}, {"batch_size": 2}, {"shape": "1"}):
        assert not one.loads_like(parse(change).models[0])


@pytest.mark.parametrize(
    "entry",
    [
        {"colour": "blue"},
        {"nireq": -1},
        {"nireq": "2"},
        {"base_path": 5},
        {"batch_size": -1},
        {"plugin_config": {"A": []}},
        {"model_version_policy": {}},
        {"model_version_policy": {"all": {}, "latest": {"num_versions": 1}}},
        {"model_version_policy": {"latest": {"num_versions": 0}}},
        {"model_version_policy": {"specific": {"versions": [0]}}},
    ],
)
def test_what_breaks_the_schema_is_named_by_its_place(entry: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"\$\.model_config_list\[0\]\.config"):
        parse(entry)


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", '{"model_config_list": {}}', "[" * 9999])
def test_what_is_not_a_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        ServerConfig.parse(text, ROOT)


@pytest.mark.parametrize("key", ["layout", "graph_path", "subconfig"])
def test_what_only_ovms_has_is_refused_of_a_model(key: str) -> None:
    with pytest.raises(ConfigError, match=f"no {key}; serve this configuration with OVMS"):
        parse({key: "x"})


def test_what_only_ovms_has_is_refused_of_a_server() -> None:
    with pytest.raises(ConfigError, match="pipelines"):
        parse({}, pipeline_config_list=[{"name": "p"}])
    assert parse({}, pipeline_config_list=[]).models
