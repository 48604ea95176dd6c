"""OVMS's `config.json`: reading it, and what it says of each model."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import jsonschema

from bertqa.artifact import VersionPolicy
from bertqa.errors import ConfigError

_NOT_SUPPORTED = {
    "pipeline_config_list": "pipelines",
    "mediapipe_config_list": "MediaPipe graphs",
    "custom_loader_config_list": "custom loaders",
    "custom_node_library_config_list": "custom nodes",
}
_NOT_SUPPORTED_OF_A_MODEL = ("layout", "graph_path", "subconfig", "custom_loader_options")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One entry of `model_config_list`.

    A changed `policy` starts and retires versions; a change of anything else loads all anew.
    `base_path` is None where the entry has none: OVMS accepts that, and serves no version of it.
    """

    name: str
    base_path: Path | None
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    nireq: int = 0
    plugin_config: Mapping[str, str | bool | float] = field(default_factory=dict)
    shape: Mapping[str, str] | str | None = None
    batch_size: str | None = None
    target_device: str = ""

    def loads_like(self, other: ModelConfig) -> bool:
        """Whether both give the same loaded model, so that only the policy may differ."""
        return all(
            getattr(self, item.name) == getattr(other, item.name)
            for item in fields(self)
            if item.name != "policy"
        )

    @classmethod
    def parse(cls, entry: Mapping[str, Any], root: Path) -> ModelConfig:
        """Read one entry that has passed the schema; `root` is where relative paths start."""
        refused = [key for key in _NOT_SUPPORTED_OF_A_MODEL if key in entry]
        if refused:
            raise ConfigError(
                f"Model {entry['name']}: the local engine has no {', '.join(refused)}; "
                "serve this configuration with OVMS."
            )
        base_path, batch_size = entry.get("base_path"), entry.get("batch_size")
        return cls(
            name=entry["name"],
            base_path=None if base_path is None else root / base_path,
            policy=VersionPolicy.parse(entry.get("model_version_policy")),
            nireq=entry.get("nireq", 0),
            plugin_config=entry.get("plugin_config", {}),
            shape=entry.get("shape"),
            batch_size=None if batch_size in (None, 0, "0") else str(batch_size),
            target_device=entry.get("target_device", ""),
        )


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """All that a `config.json` says: its models, and the metrics where it speaks of them."""

    models: tuple[ModelConfig, ...]
    metrics_enable: bool = False
    metrics_list: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, root: Path) -> ServerConfig:
        """Read the text of a `config.json`; `root` is where relative paths start.

        Raises ConfigError where it is not valid JSON, breaks OVMS's schema, or asks for what
        only OVMS has.
        """
        try:
            content = json.loads(text)
            jsonschema.validate(content, _schema())
        except json.JSONDecodeError as error:
            raise ConfigError(f"It is not valid JSON: {error}.") from error
        except RecursionError as error:
            raise ConfigError("It is nested too deeply.") from error
        except jsonschema.ValidationError as error:
            raise ConfigError(f"At {error.json_path}: {error.message}.") from error
        for key, what in _NOT_SUPPORTED.items():
            if content.get(key):
                raise ConfigError(f"The local engine has no {what} ({key}): serve it with OVMS.")
        metrics = content.get("monitoring", {}).get("metrics", {})
        return cls(
            models=tuple(
                ModelConfig.parse(entry["config"], root) for entry in content["model_config_list"]
            ),
            metrics_enable=metrics.get("enable", False),
            metrics_list=tuple(metrics.get("metrics_list", ())),
        )


@functools.cache
def _schema() -> dict[str, Any]:
    file = importlib.resources.files("bertqa_serve.engine") / "config_schema.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema
