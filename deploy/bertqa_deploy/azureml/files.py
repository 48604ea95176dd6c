"""The YAML files of `deploy/azureml/`: what they say, with what the command line says otherwise.

The same document is printed by a dry run and loaded by the SDK, so that both are the same object.
Local paths in it are absolute: `az ml ... create --file` takes it from any directory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any

import azure.ai.ml as ml  # before yaml, which comes with it: what is missing is the extra azure
import yaml
from azure.ai.ml.exceptions import MlException
from marshmallow import ValidationError

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
    """One of Azure's objects in its own YAML schema; `origin` is the file that it is from."""

    origin: Path
    content: Content

    @property
    def name(self) -> str:
        """What the object is called."""
        return str(self.content["name"])

    def check_path(self) -> None:
        """Raise AzureFileError where what is to be uploaded is not there."""
        path = str(self.content.get("path", ""))
        if path and ":" not in path and not Path(path).exists():
            raise AzureFileError(f"There is no {path}, which is to be uploaded as {self.name}.")

    def to_yaml(self) -> str:
        """Return the text that `az ml` takes."""
        return yaml.safe_dump(self.content, sort_keys=False, width=100, allow_unicode=True)

    def load(self) -> Any:
        """Return the SDK's object. Raises AzureFileError where Azure's schema does not allow it."""
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
    """The folder with the files, `deploy/azureml/` unless the user has a copy of their own."""

    folder: Path

    def read(self, kind: str, changes: Mapping[str, Any] | None = None) -> Document:
        """Read `<kind>.yml` and say some of it otherwise, keys like `inputs.recipe.path`.

        Raises AzureFileError where there is no such file or it is not valid YAML mapping.
        """
        origin = (self.folder / f"{kind}.yml").absolute()
        try:
            content = yaml.safe_load(origin.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise AzureFileError(
                f"{origin} cannot be read ({getattr(error, 'strerror', None) or error}): --files "
                "says where the files of deploy/azureml/ are."
            ) from error
        except yaml.YAMLError as error:
            raise AzureFileError(f"{origin} is not valid YAML.", detail=str(error)) from error
        if not isinstance(content, dict):
            raise AzureFileError(f"{origin} says nothing: it has to be a mapping.")
        content = _absolute(content, origin.parent)
        for key, value in (changes or {}).items():
            _set(content, key, value, origin)
        return Document(origin, content)


def _absolute(value: Any, folder: Path) -> Any:
    """Make local paths absolute, wherever they are; what names a scheme stays."""
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
            raise AzureFileError(f"{origin} has no {key} to be said otherwise.")
    content[last] = value
