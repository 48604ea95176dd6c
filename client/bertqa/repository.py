"""Reading an OVMS model repository: which versions are there, and what their cards say.

Writing one is the job of `bertqa_build.publish`; this module knows the layout.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bertqa.errors import RepositoryError

MODEL_NAME = "bert-qa"
CONFIG_FILE = "config.json"
CARD_FILE = "card.json"
IR_FILE = "model.xml"
ONNX_FILE = "model.onnx"

_VERSION = re.compile(r"[1-9][0-9]*")


def onnx_model_name(model: str) -> str:
    """The model under which a version's ONNX file is published; beside an IR, OVMS ignores it."""
    return f"{model}-onnx"


def sha256_of(path: Path) -> str:
    """Digest a file without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Card:
    """What `card.json` says of one published version.

    `files` maps a file's name to its sha256; `scores` holds `f1` and `exact_match` in percent with
    the `dataset` and number of `questions` that gave them; `parent` is the version that this one
    was made from; `published` is ISO 8601 in UTC; `gate` says how the quality gate judged;
    `inputs_sha256` is the digest of all that decides what a build makes, by which one that was
    made already is found.
    """

    model: str
    version: int
    precision: str
    format: str
    source: str
    published: str
    files: Mapping[str, str]
    scores: Mapping[str, Any] | None = None
    parent: int | None = None
    gate: Mapping[str, Any] | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    toolchain: Mapping[str, str] = field(default_factory=dict)
    inputs_sha256: str = ""

    def to_json(self) -> str:
        """Give the text of `card.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Card:
        """Read a `card.json`. Raises RepositoryError where it is missing or damaged."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RepositoryError(f"There is no {path}.") from error
        except (OSError, ValueError, TypeError) as error:
            raise RepositoryError(f"{path} cannot be read: {error}.") from error


@dataclass(frozen=True, slots=True)
class Repository:
    """A directory in the layout that OVMS serves."""

    root: Path

    @property
    def config_path(self) -> Path:
        """Where OVMS's `config.json` is."""
        return self.root / CONFIG_FILE

    def version_dir(self, version: int, model: str = MODEL_NAME) -> Path:
        """Where a version is, or would be."""
        return self.root / model / str(version)

    def versions(self, model: str = MODEL_NAME) -> list[int]:
        """The numbers of the published versions, in ascending order."""
        directory = self.root / model
        if not directory.is_dir():
            return []
        return sorted(
            int(entry.name)
            for entry in directory.iterdir()
            if entry.is_dir() and _VERSION.fullmatch(entry.name)
        )

    def require_version(self, version: int, model: str = MODEL_NAME) -> Path:
        """Give a version's directory. Raises RepositoryError naming the versions that exist."""
        directory = self.version_dir(version, model)
        if not directory.is_dir():
            known = ", ".join(map(str, self.versions(model))) or "none"
            raise RepositoryError(
                f"{self.root} has no version {version} of {model} (published: {known})."
            )
        return directory

    def latest_version(self, model: str = MODEL_NAME) -> int:
        """Give the highest published version. Raises RepositoryError where there is none."""
        versions = self.versions(model)
        if not versions:
            raise RepositoryError(
                f"{self.root} has no version of {model}. `bert-qa build` publishes one."
            )
        return versions[-1]

    def card(self, version: int, model: str = MODEL_NAME) -> Card:
        """Read a version's card. Raises RepositoryError where there is none."""
        return Card.read(self.require_version(version, model) / CARD_FILE)
