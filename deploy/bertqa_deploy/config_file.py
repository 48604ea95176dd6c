"""OVMS's `config.json`: changed whole or not at all, and only if it is still what was read."""

from __future__ import annotations

import copy
import difflib
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bertqa.errors import RepositoryError
from bertqa_deploy.errors import ConfigChangedError, DeployError

WORK_DIRECTORY = ".switching"
_LOCK = "lock"

Entry = dict[str, Any]


class ConfigFile:
    """One reading of a `config.json`, and the changes made since.

    A symbolic link stays one: the file that it points at is replaced. Raises RepositoryError where
    there is none, or it is not as OVMS has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = self._read()
        self._content = self._parse(self._text)

    @property
    def text(self) -> str:
        """The file's text as it was read or written last."""
        return self._text

    def entry(self, model: str) -> Entry:
        """Return a copy of a model's configuration. Raises RepositoryError where it has none."""
        for entry in self._entries(self._content):
            if entry.get("name") == model:
                return copy.deepcopy(entry)
        known = ", ".join(str(each.get("name")) for each in self._entries(self._content)) or "none"
        raise RepositoryError(f"{self.path} has no model {model!r} (it has: {known}).")

    def has(self, model: str) -> bool:
        """Whether a model is configured."""
        return any(entry.get("name") == model for entry in self._entries(self._content))

    def change(self, *entries: Entry, remove: str | None = None) -> bool:
        """Put models' configurations in, by their names, and take one out.

        Gives False where that changes nothing. Raises ConfigChangedError and DeployError.
        """
        content = copy.deepcopy(self._content)
        models = content["model_config_list"]
        models[:] = [each for each in models if each["config"].get("name") != remove]
        for entry in entries:
            for each in models:
                if each["config"].get("name") == entry["name"]:
                    each["config"] = entry
                    break
            else:
                models.append({"config": entry})
        if content == self._content:
            return False
        self.replace(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        return True

    def replace(self, text: str) -> None:
        """Write a new text, unless the file has changed. Raises ConfigChangedError, DeployError."""
        found = self._read()
        if found != self._text:
            difference = difflib.unified_diff(
                self._text.splitlines(), found.splitlines(), "as it was", "as it is", lineterm=""
            )
            raise ConfigChangedError(
                f"Somebody else changed {self.path} meanwhile: it is left as they made it.",
                detail="\n".join(difference),
            )
        write_whole(self.path.resolve(), text)
        self._text, self._content = text, self._parse(text)

    def _read(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise RepositoryError(
                f"There is no {self.path}: `bert-qa build` or `bert-qa serve` makes one."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise RepositoryError(f"{self.path} cannot be read: {error}.") from error

    def _parse(self, text: str) -> Any:
        try:
            content = json.loads(text)
            if not all(isinstance(entry, dict) for entry in self._entries(content)):
                raise TypeError("an entry is no object")
        except (ValueError, LookupError, TypeError) as error:
            raise RepositoryError(
                f"{self.path} is no configuration of OVMS: {type(error).__name__}: {error}."
            ) from error
        return content

    @staticmethod
    def _entries(content: Any) -> list[Entry]:
        return [each["config"] for each in content["model_config_list"]]


def beside(entry: Entry, model: str) -> str:
    """Return the `base_path` of another model that lies beside one, in the server's own terms."""
    parent, slash, _ = entry["base_path"].rstrip("/").rpartition("/")
    return f"{parent}{slash}{model}"


def specific(versions: set[int]) -> dict[str, Any]:
    """Return the policy that serves these versions and no others."""
    return {"specific": {"versions": sorted(versions)}}


@contextmanager
def switching(repository: Path) -> Iterator[Path]:
    """Be the only one who switches in a repository; gives a directory on its file system.

    The system drops the lock when its holder dies. Raises DeployError.
    """
    directory = repository / WORK_DIRECTORY
    try:
        directory.mkdir(exist_ok=True)
        lock = (directory / _LOCK).open("w")
    except OSError as error:
        raise DeployError(
            f"{repository} cannot be written ({error.strerror}): nothing was changed."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeployError(
                f"Another switch is under way in {repository}: nothing was changed."
            ) from error
        yield directory


def write_whole(path: Path, text: str) -> None:
    """Write a file aside and rename it into place, with the mode that it had."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        partial.rename(path)
    except OSError as error:
        raise DeployError(f"{path} cannot be written: {error.strerror}.") from error
