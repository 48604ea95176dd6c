"""Reading an OVMS model repository: which versions are there, and what their manifests say.

`RepositoryWriter` writes one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from bertqa._defaults import MODEL_NAME
from bertqa._reason import reason_of
from bertqa._words import first_of
from bertqa.artifact._manifest import MANIFEST_FILE, VersionManifest
from bertqa.artifact._ovms_config import CONFIG_FILE, OvmsConfig
from bertqa.artifact._split import split_model_name
from bertqa.errors import RepositoryError

IR_FILE = "model.xml"
WEIGHTS_FILE = "model.bin"
ONNX_FILE = "model.onnx"

_VERSION = re.compile(r"[1-9][0-9]*", re.ASCII)
_SHOWN_MODELS = 10


def onnx_model_name(model: str) -> str:
    """Return the name under which a model's ONNX is published: beside an IR, OVMS ignores it.

    Args:
        model: The name of the model.

    Returns:
        The name of the ONNX model.
    """
    return f"{model}-onnx"


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """A version as it lies in a repository.

    `manifest` is None where it is missing, damaged or of a newer release. It has the number and
    the model's name of the directory, whatever the file says. `remarks` are sentences about what
    is unusual.
    """

    number: int
    directory: Path
    manifest: VersionManifest | None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repository:
    """A directory in the layout that OVMS serves."""

    root: Path

    @property
    def config_path(self) -> Path:
        """Where OVMS's `config.json` is."""
        return self.root / CONFIG_FILE

    def version_dir(self, version: int, model: str = MODEL_NAME) -> Path:
        """Return where a version is, or would be.

        Args:
            version: The number.
            model: The model's name, which is its directory's.

        Returns:
            The directory, whether or not it exists.
        """
        return self.root / model / str(version)

    def versions(self, model: str = MODEL_NAME) -> list[int]:
        """Return the numbers of the versions on disk, in ascending order.

        Args:
            model: The model's name, which is its directory's.

        Returns:
            The numbers, empty where the model has no directory.

        Raises:
            RepositoryError: The model's directory cannot be read.
        """
        directory = self.root / model
        try:
            return sorted(
                int(entry.name)
                for entry in directory.iterdir()
                if _VERSION.fullmatch(entry.name) and entry.is_dir()
            )
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise RepositoryError(f"{directory} cannot be read: {reason_of(error)}.") from error

    def entries(self, model: str = MODEL_NAME) -> list[VersionEntry]:
        """Return all versions of a model, also those whose manifest cannot be read.

        Args:
            model: The model's name, which is its directory's.

        Returns:
            The versions in ascending order.

        Raises:
            RepositoryError: The model's directory cannot be read.
        """
        return [self._entry(version, model) for version in self.versions(model)]

    def models(self) -> list[str]:
        """Return the names of the models that have a version, in alphabetical order.

        An ONNX twin is left out, and so is what reports the split of another one's traffic.

        Returns:
            The names, empty where there is no repository.

        Raises:
            RepositoryError: The repository, or a model's directory in it, cannot be read.
        """
        try:
            names = sorted(each.name for each in self.root.iterdir() if each.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RepositoryError(f"{self.root} cannot be read: {reason_of(error)}.") from error
        aids = {aid for each in names for aid in (onnx_model_name(each), split_model_name(each))}
        return [
            each
            for each in names
            if each not in aids and not each.startswith(".") and self.versions(each)
        ]

    def configured(self, model: str = MODEL_NAME) -> dict[int, str]:
        """Return the versions that a server serves by `config.json`.

        Args:
            model: The model's name, which is its directory's. An entry of another name is of this
                model too where its `base_path` ends so.

        Returns:
            The name under which each is served, by its number: the model's own where it has it.
            Empty where there is no `config.json`.

        Raises:
            ConfigError: `config.json` cannot be read, or OVMS would not take it.
            RepositoryError: The model's directory cannot be read.
        """
        if not self.config_path.exists():
            return {}
        config = OvmsConfig.read(self.config_path)
        versions = self.versions(model)
        served: dict[int, str] = {}
        for entry in config.entries:
            name, path = str(entry.get("name")), str(entry.get("base_path"))
            if name == model or path.rstrip("/").rpartition("/")[2] == model:
                for version in config.policy(name).choose(versions):
                    if name == model or version not in served:
                        served[version] = name
        return served

    def require_version(self, version: int, model: str = MODEL_NAME) -> Path:
        """Return the directory of a version that has to be there.

        Args:
            version: The number.
            model: The model's name, which is its directory's.

        Returns:
            The directory, which exists.

        Raises:
            RepositoryError: It is not; the message names those that are.
        """
        directory = self.version_dir(version, model)
        if not directory.is_dir():
            known = ", ".join(map(str, self.versions(model))) or "none"
            raise RepositoryError(
                f"{self.root} has no version {version} of {model} (published: {known})."
            )
        return directory

    def latest_version(self, model: str = MODEL_NAME) -> int:
        """Return the highest version on disk.

        Args:
            model: The model's name, which is its directory's.

        Returns:
            The number.

        Raises:
            RepositoryError: There is none.
        """
        versions = self.versions(model)
        if not versions:
            raise RepositoryError(self.without(model))
        return versions[-1]

    def without(self, model: str) -> str:
        """Return a sentence that a model has no version, and which models have one.

        Args:
            model: The model's name.

        Raises:
            RepositoryError: The repository, or a model's directory in it, cannot be read.
        """
        others = self.models()
        shown = first_of(others, _SHOWN_MODELS)
        rest = f": its models are {shown}." if others else ". `bert-qa build` makes one."
        return f"{self.root} has no version of {model}{rest}"

    def manifest(self, version: int, model: str = MODEL_NAME) -> VersionManifest:
        """Read a version's manifest.

        Args:
            version: The number of the version's directory.
            model: The model's name.

        Returns:
            The manifest, with this number and name: a copy of a version says those of the original.

        Raises:
            RepositoryError: There is no such version, or its manifest is missing, damaged or of a
                newer release.
        """
        found = VersionManifest.read(self.require_version(version, model) / MANIFEST_FILE)
        return replace(found, version=version, model=model)

    def _entry(self, version: int, model: str) -> VersionEntry:
        directory = self.version_dir(version, model)
        try:
            found = VersionManifest.read(directory / MANIFEST_FILE)
        except RepositoryError as error:
            return VersionEntry(version, directory, None, (str(error),))
        manifest = replace(found, version=version, model=model)
        if manifest == found:
            return VersionEntry(version, directory, manifest)
        original = found.version if found.model == model else f"{found.version} of {found.model}"
        remark = f"It is a copy: its {MANIFEST_FILE} is that of version {original}."
        return VersionEntry(version, directory, manifest, (remark,))
