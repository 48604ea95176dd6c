"""The model repository as a server needs it: checked, and with a complete `config.json`."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from bertqa.errors import ConfigError
from bertqa_serve.command import plugin_config
from bertqa_serve.errors import RepositoryMissingError

CONFIG_FILE = "config.json"
_VERSION = re.compile(r"[1-9][0-9]*")


def complete_config(repository: Path, model: str, cores: int, *, dry_run: bool = False) -> Path:
    """Make sure that a repository has a `config.json` that fits this machine, and give its path.

    Where there is none, it serves all versions of `model`. Models in it that say nothing of
    `plugin_config` get one for so many cores, as `ovms` takes none on its command line beside a
    configuration; one that this wrote for another machine is written anew. All else that is
    there stays as it is. `dry_run` writes nothing.

    Raises RepositoryMissingError for a repository that is missing or has nothing to serve, and
    ConfigError for a file that is not valid JSON.
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
    fitting = plugin_config(cores)
    changed = [
        config
        for config in _model_configs(content, path)
        if config.get("plugin_config") != fitting and _is_ours(config.get("plugin_config"))
    ]
    for config in changed:
        config["plugin_config"] = fitting
    if (changed or not path.exists()) and not dry_run:
        _write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def _is_ours(settings: Any) -> bool:
    """Whether there are no settings, or those that this module writes for some number of cores."""
    if settings is None:
        return True
    threads = str(settings.get("INFERENCE_NUM_THREADS", "")) if isinstance(settings, dict) else ""
    return threads.isdigit() and bool(settings == plugin_config(int(threads)))


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
