"""The model repository as a server needs it: checked, and with a complete `config.json`."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertqa_serve.errors import ConfigError, RepositoryMissingError

CONFIG_FILE = "config.json"
_VERSION = re.compile(r"[1-9][0-9]*")


def complete_config(
    repository: Path, model: str, plugin_config: Mapping[str, str], *, dry_run: bool = False
) -> Path:
    """Make sure that a repository has a `config.json` that fits this machine, and give its path.

    Where there is none, it serves all versions of `model`. Models in it that say nothing of
    `plugin_config` get the one given, as `ovms` takes none on its command line beside a
    configuration; what is there stays as it is. `dry_run` writes nothing.

    Raises RepositoryMissingError for a repository that is missing or has nothing to serve, and
    ConfigError for a file that is no JSON.
    """
    path = repository.absolute() / CONFIG_FILE
    if not repository.is_dir():
        raise RepositoryMissingError(
            f"There is no model repository at {repository}. `bert-qa build` makes one."
        )
    content = _read(path)
    if content is None:
        directory = repository / model
        if not directory.is_dir() or not any(map(_is_version, directory.iterdir())):
            raise RepositoryMissingError(
                f"{repository} has no version of {model} in it (looked for {directory}/<number>). "
                "`bert-qa build` makes one."
            )
        entry = {"name": model, "base_path": model, "model_version_policy": {"all": {}}}
        content = {"model_config_list": [{"config": entry}]}
    lacking = [config for config in _model_configs(content, path) if "plugin_config" not in config]
    for config in lacking:
        config["plugin_config"] = dict(plugin_config)
    if (lacking or not path.exists()) and not dry_run:
        _write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def _is_version(path: Path) -> bool:
    return path.is_dir() and bool(_VERSION.fullmatch(path.name))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error


def _model_configs(content: Any, path: Path) -> list[dict[str, Any]]:
    try:
        configs = [entry["config"] for entry in content["model_config_list"]]
        if not all(isinstance(config, dict) for config in configs):
            raise TypeError("an entry is no object")
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path} has no list of models as OVMS wants it: {error}.") from error
    return configs


def _write(path: Path, text: str) -> None:
    """Replace a file whole or not at all; a repository that may not be written is left as it is."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=".config-", encoding="utf-8", delete=False
        ) as file:
            file.write(text)
        written = Path(file.name)
        written.chmod(0o644)
        written.replace(path)
    except PermissionError as error:
        if not path.exists():
            raise ConfigError(f"{path} is missing and cannot be written: {error}.") from error
