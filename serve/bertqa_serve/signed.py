"""Serving nothing but what is signed: versions are verified at the start, and as they appear."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertqa._reason import reason_of
from bertqa.artifact import (
    OvmsConfig,
    Repository,
    VerifyKey,
    VersionPolicy,
    require_plain_versions,
    require_signed,
    split_model_name,
    trial_model_name,
)
from bertqa.errors import ConfigError, RepositoryError, SignatureError
from bertqa_serve.options import ServeOptions

_LOOK_SECONDS = 1.0
_OTHER_SOURCES = ("graph_path", "subconfig", "custom_loader_options")


class SignedVersions:
    """The versions that a server takes from a repository, each verified as often as it changes."""

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
        self._verified: dict[Path, tuple[object, ...]] = {}
        self._unread = False
        self._looked = time.monotonic()

    @classmethod
    def of(cls, options: ServeOptions) -> SignedVersions:
        """Return those that a server with these options takes.

        Args:
            options: What to serve.
        """
        return cls(Repository(options.repository), options.model, options.verify)

    def check(self) -> None:
        """Verify what is served and was not verified before as it is.

        Raises:
            SignatureError: A version is not signed, or was changed, or is where it cannot be read,
                or something else than versions is served.
            RepositoryError: The repository cannot be read.
            ConfigError: `config.json` cannot be read.
        """
        if self._key is None:
            return
        for directory in self._served():
            stamp = _stamp(directory)
            if stamp and self._verified.get(directory) != stamp:
                require_signed(directory, self._key)
                self._verified[directory] = stamp

    def look(self) -> None:
        """Verify what appeared or changed since, about once a second.

        A `config.json` that cannot be read may be about to be written: it has time until the next
        look. OVMS could understand it, and serve what it says.

        Raises:
            SignatureError: See `check`; or `config.json` still cannot be read.
            RepositoryError: See `check`.
        """
        if self._key is None or time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        try:
            self.check()
        except ConfigError as error:
            if self._unread:
                raise SignatureError(f"What is served cannot be verified: {error}") from error
            self._unread = True
        else:
            self._unread = False
        self._looked = time.monotonic()

    def _served(self) -> Iterator[Path]:
        """Yield the directories of the versions that are served, but for reports of a split."""
        path = self._repository.config_path
        if not path.exists():
            yield from self._versions(self._repository.root / self._model, None)
            return
        config = OvmsConfig.read(path)
        if config.others:
            raise SignatureError(
                f"{path} has {', '.join(config.others)}, by which OVMS serves what has no "
                "signature: leave it out."
            )
        places: dict[str, Path] = {}
        for entry in config.entries:
            name = str(entry.get("name"))
            if name in places:
                raise SignatureError(
                    f"{path} has the model {name} twice, of which OVMS serves the first: leave one "
                    "out."
                )
            places[name] = self._place(entry)
        splits = {
            (split_model_name(name), split_model_name(place.name)) for name, place in places.items()
        }
        for name, place in places.items():
            if (name, place.name) in splits:
                require_plain_versions(place)
                continue
            if name not in (place.name, trial_model_name(place.name)):
                raise SignatureError(
                    f"{path} serves {place} as {name}: what is signed is served under its own "
                    f"name, {place.name}."
                )
            yield from self._versions(place, config.policy(name))

    def _versions(self, model: Path, policy: VersionPolicy | None) -> Iterator[Path]:
        """Yield the directories of those of a model's versions that may be served; None is all.

        Where the latest are served, OVMS takes an older one in the place of one that does not load.
        """
        require_plain_versions(model)
        numbers = Repository(model.parent).versions(model.name)
        for version in numbers:
            if policy is None or policy.specific is None or version in policy.specific:
                yield model / str(version)

    def _place(self, entry: Mapping[str, Any]) -> Path:
        """Return the directory that an entry of `config.json` serves, and nothing else."""
        path, name = self._repository.config_path, entry.get("name")
        for key in _OTHER_SOURCES:
            if entry.get(key):
                raise SignatureError(
                    f"{path} has {key} for {name}, by which OVMS serves what has no signature: "
                    "leave it out."
                )
        place = str(entry.get("base_path") or "")
        if not place:
            raise SignatureError(f"{path} has no base_path for {name}: write its directory there.")
        if "://" in place:
            raise SignatureError(
                f"{path} serves {name} from {place.rstrip('/')}, which the server reads itself, so "
                "that it cannot be verified: publish it to a directory, and serve that."
            )
        return self._repository.root / place


def _stamp(directory: Path) -> tuple[object, ...]:
    """Return what is another one after any change of a version; empty where it has gone.

    Raises:
        RepositoryError: The directory cannot be read.
    """
    try:
        found = [(path, path.lstat()) for path in (directory, *sorted(directory.iterdir()))]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise RepositoryError(f"{directory} cannot be read: {reason_of(error)}.") from error
    return tuple(
        (path, each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns)
        for path, each in found
    )
