"""The manifest of a published version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bertqa.errors import RepositoryError

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a version answers, in percent, on the `questions` questions of `dataset`.

    `missing` questions had no prediction and count as zero. The parts are given where the
    dataset has both kinds of questions; on unanswerable ones, exact match and F1 are the same.
    """

    dataset: str
    questions: int
    exact_match: float
    f1: float
    missing: int = 0
    answerable_exact_match: float | None = None
    answerable_f1: float | None = None
    unanswerable: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into manifests and JSON output."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class VersionManifest:
    """What `manifest.json` says of one published version.

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
        """Return the text of `manifest.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> VersionManifest:
        """Read a `manifest.json`. Raises RepositoryError where it is missing or damaged."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RepositoryError(f"There is no {path}.") from error
        except (OSError, ValueError, TypeError) as error:
            raise RepositoryError(f"{path} cannot be read: {error}.") from error
