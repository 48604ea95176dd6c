"""Serving nothing but what is signed: versions are verified at the start, and as they appear."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from bertqa.artifact import (
    OvmsConfig,
    Repository,
    VerifyKey,
    require_signed,
    split_model_name,
)
from bertqa.errors import ConfigError, SignatureError
from bertqa_serve.options import ServeOptions

_LOOK_SECONDS = 1.0


class SignedVersions:
    """The versions that a server takes from a repository, each verified once."""

    def __init__(self, repository: Repository, model: str, key: VerifyKey | None) -> None:
        """Name the repository; nothing is read.

        Args:
            repository: The repository.
            model: The model that is served where there is no `config.json`.
            key: The key that they have to be signed with; None takes all.
        """
        self._repository = repository
        self._model = model
        self._key = key
        self._verified: set[Path] = set()
        self._looked = time.monotonic()

    @classmethod
    def of(cls, options: ServeOptions) -> SignedVersions:
        """Return those that a server with these options takes.

        Args:
            options: What to serve.
        """
        return cls(Repository(options.repository), options.model, options.verify)

    def check(self) -> None:
        """Verify what is served and was not verified before.

        Raises:
            SignatureError: A version is not signed, or was changed, or is where it cannot be read.
            RepositoryError: The repository cannot be read.
        """
        if self._key is None:
            return
        for directory in self._served():
            if directory not in self._verified:
                require_signed(directory, self._key)
                self._verified.add(directory)

    def look(self) -> None:
        """Verify what appeared since, about once a second; a file that is being edited waits.

        Raises:
            SignatureError: See `check`.
            RepositoryError: See `check`.
        """
        if self._key is None or time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        with contextlib.suppress(ConfigError):
            self.check()
        self._looked = time.monotonic()

    def _served(self) -> Iterator[Path]:
        """Yield the directories of the versions that are served, but for reports of a split."""
        path = self._repository.config_path
        if not path.exists():
            for version in self._repository.versions(self._model):
                yield self._repository.version_dir(version, self._model)
            return
        config = OvmsConfig.read(path)
        places = {
            str(entry["name"]): str(entry["base_path"]).rstrip("/")
            for entry in config.entries
            if entry.get("name") and entry.get("base_path")
        }
        splits = {split_model_name(Path(each).name) for each in places.values()}
        for name, place in places.items():
            if "://" in place:
                raise SignatureError(
                    f"{path} serves {name} from {place}, which the server reads itself, so that it "
                    "cannot be verified: publish it to a directory, and serve that."
                )
            directory = self._repository.root / place
            if directory.name not in splits:
                versions = Repository(directory.parent)
                for version in config.policy(name).choose(versions.versions(directory.name)):
                    yield directory / str(version)
