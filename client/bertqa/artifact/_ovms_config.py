"""OVMS's `config.json`: which models and versions a server serves, read and edited.

Nothing here writes; `RepositoryWriter.replace_config` does.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bertqa._reason import reason_of
from bertqa.artifact._files import read_regular
from bertqa.artifact._server_settings import PINNING, plugin_config, server_settings
from bertqa.artifact._version_policy import ALL_VERSIONS, VersionPolicy
from bertqa.errors import ConfigChangedError, ConfigError

CONFIG_FILE = "config.json"

# Metrics are what "monitoring" is about.
_MODELS = ("model_config_list", "monitoring")

Entry = dict[str, Any]
"""The configuration of one model, as OVMS defines it."""


@dataclass(frozen=True, slots=True)
class OvmsConfig:
    """One reading of a `config.json`; an edit makes another one.

    `text` is what the file holds, or None where there is no file yet.
    """

    path: Path
    text: str | None
    _content: Any = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a `config.json`.

        Args:
            path: The file.

        Returns:
            What it says.

        Raises:
            ConfigError: There is no such file, it cannot be read, or OVMS would refuse it.
        """
        text = read_config_text(path)
        if text is None:
            raise ConfigError(f"There is no {path}. `bert-qa build` and `bert-qa serve` write one.")
        try:
            content = json.loads(text, object_pairs_hook=_without_doubles)
            if not isinstance(content["model_config_list"], list):
                raise TypeError("model_config_list is not an array")
            for each in content["model_config_list"]:
                if not isinstance(each["config"].get("base_path", ""), str):
                    raise TypeError("a base_path is not a string")
                if not isinstance(each["config"].get("plugin_config", {}), dict):
                    raise TypeError("a plugin_config is not an object")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(
                f"{path} is not a configuration of OVMS: {type(error).__name__}: {error}. It needs "
                "a list `model_config_list` (with a `config` in each entry, or empty): mend it, or "
                "move it away, and a new one is written."
            ) from error
        return cls(path, text, content)

    @classmethod
    def default(cls, path: Path, model: str) -> Self:
        """Return the configuration of a repository that has none: all versions of one model.

        Its `base_path` is relative, which OVMS resolves from the file: the repository can move.

        Args:
            path: Where the file is to be.
            model: The model's name, which is its directory's.

        Returns:
            The configuration, with `text` None.
        """
        entry = {"name": model, "base_path": model, "model_version_policy": ALL_VERSIONS}
        return cls(path, None, {"model_config_list": [{"config": entry}]})

    def require_unchanged(self) -> None:
        """Refuse a file that is not as it was read or written last.

        Raises:
            ConfigChangedError: Another program has changed it; `detail` shows the difference.
            ConfigError: It cannot be read.
        """
        found = read_config_text(self.path)
        if found == self.text:
            return
        difference = difflib.unified_diff(
            (self.text or "").splitlines(),
            (found or "").splitlines(),
            "as it was",
            "as it is",
            lineterm="",
        )
        raise ConfigChangedError(
            f"Another program changed {self.path} meanwhile. It is left as it is now. "
            "Look at the change, and run the same command again.",
            detail="\n".join(difference),
        )

    @property
    def new_text(self) -> str:
        """The text of the file that says what this configuration says."""
        return json.dumps(self._content, indent=2, ensure_ascii=False) + "\n"

    @property
    def entries(self) -> list[Entry]:
        """Copies of all models' configurations."""
        return [copy.deepcopy(each["config"]) for each in self._content["model_config_list"]]

    @property
    def others(self) -> list[str]:
        """The names of what is configured beside models, such as graphs and custom loaders."""
        return [name for name, value in self._content.items() if value and name not in _MODELS]

    def has(self, model: str) -> bool:
        """Return whether a model is configured.

        Args:
            model: The model's name.

        Returns:
            Whether `config.json` has an entry for it.
        """
        return any(entry.get("name") == model for entry in self.entries)

    def entry(self, model: str) -> Entry:
        """Return a copy of a model's configuration.

        Args:
            model: The model's name.

        Returns:
            The entry; a change of it does not change this configuration.

        Raises:
            ConfigError: It has none.
        """
        for entry in self.entries:
            if entry.get("name") == model:
                return entry
        known = ", ".join(str(each.get("name")) for each in self.entries) or "none"
        raise ConfigError(f"{self.path} has no model {model!r} (it has: {known}).")

    def policy(self, model: str) -> VersionPolicy:
        """Return which of a model's versions are served.

        Args:
            model: The model's name.

        Returns:
            The policy, that of OVMS where the entry has none.

        Raises:
            ConfigError: The model is not configured, or its policy is not one of OVMS's.
        """
        try:
            return VersionPolicy.parse(self.entry(model).get("model_version_policy"))
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from error

    def serving(self, model: str) -> Self:
        """Return this configuration with all versions of a model, unless it has an entry for it.

        The entry is like that of a model beside it: in the same place, with the same properties
        of OpenVINO. One whose directory is not beside the file may be anything from anywhere.

        Args:
            model: The model's name, which is its directory's.

        Returns:
            The new configuration, equal to this one where that changes nothing.
        """
        located = [entry for entry in self.entries if entry.get("base_path")]
        directories = {each["base_path"].rstrip("/").rpartition("/")[2] for each in located}
        if self.has(model) or model in directories:
            return self
        root = self.path.parent
        beside = [each for each in located if (root / Path(each["base_path"]).name).is_dir()]
        entry: Entry = {
            "name": model,
            "base_path": sibling_base_path(beside[0], model) if beside else model,
            "model_version_policy": dict(ALL_VERSIONS),
        }
        properties = [each["plugin_config"] for each in beside if "plugin_config" in each]
        if properties:
            entry["plugin_config"] = properties[0]
        return self.edited(entry)

    def edited(self, *entries: Entry, remove: str | None = None) -> Self:
        """Return this configuration with some models' entries put in, and one taken out.

        Args:
            *entries: The entries; each replaces the one of the same `name`, or is added.
            remove: The name of a model that is to go.

        Returns:
            The new configuration, equal to this one where that changes nothing.
        """
        content = copy.deepcopy(self._content)
        models = content["model_config_list"]
        if remove is not None:  # An entry may also have no name.
            models[:] = [each for each in models if each["config"].get("name") != remove]
        for entry in entries:
            for each in models:
                if each["config"].get("name") == entry["name"]:
                    each["config"] = entry
                    break
            else:
                models.append({"config": entry})
        return type(self)(self.path, self.text, content)

    def is_refitted(self, other: OvmsConfig) -> bool:
        """Return whether another configuration differs in nothing but what `fitted` changes.

        Args:
            other: The other one.
        """
        return bool(_without_settings(self._content) == _without_settings(other._content))

    def fitted(self, cores: int, given: Mapping[str, str] | None = None) -> Self:
        """Return this configuration with a `plugin_config` for so many cores where it needs one.

        An entry needs one that has none, as `ovms` takes none on its command line beside a
        `config.json`, or that has what this method gave it on another machine.

        Args:
            cores: How many cores a server may use.
            given: Properties that every entry is to have, whatever it has.

        Returns:
            The new configuration, equal to this one where that changes nothing.
        """
        content = copy.deepcopy(self._content)
        for each in content["model_config_list"]:
            if _is_ours(each["config"].get("plugin_config")):
                each["config"]["plugin_config"] = plugin_config(cores)
            if given:
                found = each["config"]["plugin_config"]
                each["config"]["plugin_config"] = {**found, **given}
        return type(self)(self.path, self.text, content)


def read_config_text(path: Path) -> str | None:
    """Return the text of a `config.json`, or None where there is no such file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return read_regular(path).decode()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {reason_of(error)}.") from error


def sibling_base_path(entry: Entry, model: str) -> str:
    """Return the `base_path` of a model that lies beside another one, in the server's own terms.

    Args:
        entry: The configuration of the model that is there.
        model: The directory's name of the other one.

    Returns:
        A path or the address of a store, such as `s3://bucket/models/bert-qa-traffic`.
    """
    parent, slash, _ = entry["base_path"].rstrip("/").rpartition("/")
    return f"{parent}{slash}{model}"


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; where a key stands twice, OVMS takes the first and Python the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {doubled!r} stands twice in one object")
    return found


def _without_settings(content: Any) -> Any:
    content = copy.deepcopy(content)
    for each in content["model_config_list"]:
        each["config"].pop("plugin_config", None)
    return content


def _is_ours(settings: dict[str, Any] | None) -> bool:
    """Return whether settings are missing, or are those for some number of cores."""
    if settings is None:
        return True
    threads = str(settings.get("INFERENCE_NUM_THREADS", ""))
    if not threads.isdecimal() or len(threads) > 6 or int(threads) < 1:
        return False
    ours = (plugin_config(int(threads)), server_settings(int(threads)).plugin_config)
    # Those that an earlier release wrote say nothing of it.
    return {PINNING: "NO", **settings} in ours
