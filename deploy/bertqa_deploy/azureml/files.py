"""The YAML files of `deploy/azureml/`, with the changes that the command line asks for.

A dry run prints the document that the SDK loads otherwise, so both are the same object. Local paths
in it are absolute, so `az ml ... create --file` accepts it in any directory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any

import azure.ai.ml as ml  # before yaml, which the extra azure brings too, so that it is reported
import yaml
from azure.ai.ml.exceptions import MlException
from marshmallow import ValidationError

from bertqa._reason import reason_of
from bertqa_deploy.azureml.quiet import quiet
from bertqa_deploy.errors import AzureFileError

_LOADERS: Mapping[str, Callable[..., Any]] = {
    "environment-build": ml.load_environment,
    "environment-serve": ml.load_environment,
    "data": ml.load_data,
    "job": ml.load_job,
    "sweep": ml.load_job,
    "model": ml.load_model,
    "endpoint": ml.load_online_endpoint,
    "deployment": ml.load_online_deployment,
}
_PATHS = ("path", "code")

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """One of Azure's objects.

    Attributes:
        origin: The file that it was read from.
        content: Its content in Azure's YAML schema.
    """

    origin: Path
    content: Content

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.content["name"])

    def check_path(self) -> None:
        """Check that what is to be uploaded exists.

        Raises:
            AzureFileError: It does not.
        """
        path = str(self.content.get("path", ""))
        if path and ":" not in path and not Path(path).exists():
            raise AzureFileError(f"There is no {path}, which is to be uploaded as {self.name}.")

    def to_yaml(self) -> str:
        """Return the text that `az ml` accepts."""
        return yaml.safe_dump(self.content, sort_keys=False, width=100, allow_unicode=True)

    def load(self) -> Any:
        """Return the SDK's object.

        Raises:
            AzureFileError: Azure's schema does not allow the content.
        """
        try:
            with quiet():
                return _LOADERS[self.origin.stem](
                    io.StringIO(self.to_yaml()), relative_origin=str(self.origin)
                )
        except (MlException, ValidationError, ValueError, TypeError) as error:
            raise AzureFileError(
                f"{self.origin} is not what Azure ML's schema allows.", detail=str(error).strip()
            ) from error


@dataclass(frozen=True, slots=True)
class Files:
    """The folder with the files: `deploy/azureml/`, or the user's own copy of it."""

    folder: Path

    def read(self, kind: str, changes: Mapping[str, Any] | None = None) -> Document:
        """Read a file and change it.

        Args:
            kind: The file's name without `.yml`.
            changes: New values by dotted keys such as `inputs.recipe.path`.

        Returns:
            The file's content, with the changes made.

        Raises:
            AzureFileError: The file is missing, is not a mapping in valid YAML, or has no place for
                a change.
        """
        origin = (self.folder / f"{kind}.yml").absolute()
        try:
            content = yaml.safe_load(origin.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise AzureFileError(
                f"{origin} cannot be read ({reason_of(error)}): --files "
                "names the folder with the files of deploy/azureml/."
            ) from error
        except yaml.YAMLError as error:
            raise AzureFileError(f"{origin} is not valid YAML.", detail=str(error)) from error
        if not isinstance(content, dict):
            raise AzureFileError(f"{origin} does not hold a mapping of keys to values.")
        content = _absolute(content, origin.parent)
        for key, value in (changes or {}).items():
            _set(content, key, value, origin)
        return Document(origin, content)


def _absolute(value: Any, folder: Path) -> Any:
    """Make local paths absolute at any depth; a path with a scheme stays."""
    if isinstance(value, list):
        return [_absolute(each, folder) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: normpath(folder / each)
        if key in _PATHS and isinstance(each, str) and ":" not in each
        else _absolute(each, folder)
        for key, each in value.items()
    }


def _set(content: Content, key: str, value: Any, origin: Path) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        content = content.get(parent, {})
        if not isinstance(content, dict):
            raise AzureFileError(f"{origin} has no {key} that could be changed.")
    content[last] = value
