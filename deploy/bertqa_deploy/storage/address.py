"""Addresses: a directory, a container of a store in the form OVMS reads, or a registry's model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from bertqa.errors import InvalidOptionError

AZURE, S3, GOOGLE = "az", "s3", "gs"
HUB, MLFLOW = "hf", "mlflow"
FORMS = (
    "az://container/path, s3://bucket/path, gs://bucket/path, hf://org/name, mlflow://name or a "
    "directory"
)

_OTHER_NAMES = {
    **dict.fromkeys(("azure", "abfs", "abfss", "wasb", "wasbs", "azfs", "adl"), AZURE),
    **dict.fromkeys(("s3a", "s3n"), S3),
    "gcs": GOOGLE,
}
_CONTAINER = re.compile(r"[a-z0-9$][a-z0-9._-]{1,221}")
_PART = re.compile(r"[A-Za-z0-9._=+-]+")
_HUB_NAME = r"(?!.*(?:--|\.\.|\.git(?:@|$)))[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
_HUB_PATH = re.compile(rf"(?P<path>{_HUB_NAME}/{_HUB_NAME})(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_MLFLOW_PATH = re.compile(r"(?P<path>[^/:@]*[^/:@\s][^/:@]*)(?:/(?P<revision>[1-9][0-9]{0,17}))?")
_REGISTRIES = {
    HUB: (_HUB_PATH, "hf://org/name or hf://org/name@revision"),
    MLFLOW: (_MLFLOW_PATH, "mlflow://name or mlflow://name/version"),
}


class Layout(StrEnum):
    """How the files lie in a directory: as OVMS reads them, or as on the Hugging Face hub."""

    REPOSITORY = "repository"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository, or a model of a registry, is.

    Attributes:
        scheme: `az`, `s3`, `gs`, `hf` or `mlflow`; empty for a directory.
        path: A directory, the container of a store and the path in it, or a model's name.
        revision: A registry's branch, tag, commit or version; empty where none is named.
    """

    scheme: str
    path: str
    revision: str = ""

    def __str__(self) -> str:
        if not self.scheme:
            return self.path
        separator = "@" if self.scheme == HUB else "/"
        return f"{self.scheme}://{self.path}" + (self.revision and separator + self.revision)

    @property
    def is_registry(self) -> bool:
        """Whether it is that of a model in a registry."""
        return self.scheme in _REGISTRIES

    @property
    def container(self) -> str:
        """The container or bucket of a store."""
        return self.path.partition("/")[0]

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse an address.

        Args:
            text: A directory, or a URL such as `az://container/path`.

        Returns:
            The address in its parts.

        Raises:
            InvalidOptionError: OVMS would not read a repository there, and no registry is there.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            known = (AZURE, S3, GOOGLE, *_REGISTRIES, *_OTHER_NAMES)
            if text.partition(":")[0] in known and ":" in text:
                raise InvalidOptionError(f"The address {text!r} lacks //: write {FORMS}.")
            if not text.strip():
                raise InvalidOptionError(f"The address is empty: write {FORMS}.")
            return cls("", text)
        if scheme in _OTHER_NAMES:
            right = _OTHER_NAMES[scheme]
            raise InvalidOptionError(
                f"OVMS does not read a repository at {scheme}://: write {right}:// for {text!r}."
            )
        if scheme in _REGISTRIES:
            pattern, form = _REGISTRIES[scheme]
            found = pattern.fullmatch(rest.removesuffix("/"))
            if found is None:
                raise InvalidOptionError(f"{text!r} is not the name of a model: write {form}.")
            return cls(scheme, found["path"], found["revision"] or "")
        if scheme not in (AZURE, S3, GOOGLE):
            raise InvalidOptionError(
                f"A repository cannot be at {scheme}://, as in {text!r}: write {FORMS}."
            )
        container, *parts = rest.rstrip("/").split("/")
        if not _CONTAINER.fullmatch(container):
            raise InvalidOptionError(
                f"{text!r} does not name a container: {container!r} should be lower-case letters, "
                "digits and hyphens. The account and the endpoint come from the environment."
            )
        for part in parts:
            if not _PART.fullmatch(part) or set(part) == {"."}:
                raise InvalidOptionError(
                    f"The path of {text!r} is not valid: {part!r} should be letters, digits and "
                    "any of . _ = + -."
                )
        return cls(scheme, "/".join((container, *parts)))
