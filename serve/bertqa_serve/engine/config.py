"""OVMS's `config.json`, and the configuration of each model in it."""

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

    A changed `policy` starts and retires versions; any other change reloads all of them.

    Attributes:
        name: The model's name.
        base_path: The directory with its versions. OVMS accepts an entry without one, and serves
            no version of it.
        policy: Which versions are served.
        nireq: The number of infer requests; 0 leaves it to OpenVINO.
        plugin_config: OpenVINO's properties.
        shape: The shape of all inputs, or of each by its name; it wins over `batch_size`.
        batch_size: The first dimension of all inputs: a number or "auto".
        target_device: OpenVINO's device, CPU if it is empty.
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
        """Return whether both lead to the same loaded model: only the policy may differ."""
        return all(
            getattr(self, item.name) == getattr(other, item.name)
            for item in fields(self)
            if item.name != "policy"
        )

    @classmethod
    def parse(cls, entry: Mapping[str, Any], root: Path) -> ModelConfig:
        """Read an entry that conforms to the schema.

        Args:
            entry: The entry.
            root: The directory that relative paths start from.

        Returns:
            The model's configuration.

        Raises:
            ConfigError: The entry asks for what only OVMS has.
        """
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
    """The content of a `config.json`: its models, and its settings of the metrics if it has any."""

    models: tuple[ModelConfig, ...]
    metrics_enable: bool = False
    metrics_list: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, root: Path) -> ServerConfig:
        """Read the text of a `config.json`.

        Args:
            text: The text.
            root: The directory that relative paths start from.

        Returns:
            The models, and the settings of the metrics.

        Raises:
            ConfigError: It is not valid JSON, violates OVMS's schema, or asks for what only OVMS
                has.
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
