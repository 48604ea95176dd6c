"""The manifest of a published version: `manifest.json`, read and written in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from bertqa._reason import reason_of
from bertqa.artifact._files import read_regular
from bertqa.artifact._provenance import Provenance
from bertqa.errors import RepositoryError

MANIFEST_FILE = "manifest.json"
SCHEMA_VERSION = 1

_READING = ConfigDict(extra="ignore")


@dataclass(frozen=True, slots=True, config=_READING)
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
        """Return the scores for JSON output, without the parts that there are not."""
        return _plain(Scores, self)


@dataclass(frozen=True, slots=True, config=_READING)
class GateResult:
    """What the quality gate found; F1 and exact match are in percent.

    `f1_drop` is how far F1 fell against the parent, in points, below zero where it rose; the true
    drop is from `f1_drop_low` to `f1_drop_high` with 95 % confidence. `latency_ratio` is the time
    of a window over the parent's. `max_...` and `min_...` are the limits that were set. `reasons`
    say why a version was refused, and `notes` what the data are too few to judge; `forced` says
    that a refused version was published all the same.
    """

    passed: bool
    forced: bool = False
    min_f1: float | None = None
    min_exact_match: float | None = None
    f1_drop: float | None = None
    f1_drop_low: float | None = None
    f1_drop_high: float | None = None
    max_f1_drop: float | None = None
    min_f1_ratio: float | None = None
    latency_ratio: float | None = None
    max_latency_ratio: float | None = None
    parent_f1: float | None = None
    parent_exact_match: float | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result for JSON output."""
        return _plain(GateResult, self)


@dataclass(frozen=True, slots=True, config=_READING)
class Evidence:
    """The scores of each question, from which two versions are compared without asking them.

    `dataset_sha256` is the digest of the questions; `questions` packs their scores, as
    `bertqa.evaluation.QuestionScores` reads them.
    """

    dataset_sha256: str
    questions: str


@dataclass(frozen=True, slots=True, config=_READING)
class Pruning:
    """How a version was pruned, and how fast that made it.

    `speedup` is how many times as fast as the unpruned version it should be in `precision`;
    `measured` is how many times it is in its own precision, and `over_fp32` how many times as fast
    as the unpruned FP32 version, both for requests of `batch` windows of `tokens` tokens with
    `threads` cores of `cpu`. `heads` and `neurons` are what is left of each layer.
    """

    speedup: float
    precision: str
    measured: float
    over_fp32: float
    heads: tuple[int, ...]
    neurons: tuple[int, ...]
    batch: int
    tokens: int
    threads: int
    cpu: str

    def to_dict(self) -> dict[str, Any]:
        """Return the section for JSON output."""
        return _plain(Pruning, self)


@dataclass(frozen=True, slots=True, config=_READING)
class VersionManifest:
    """The content of `manifest.json`, which describes one published version.

    `files` maps a file's name to its sha256; `scores` were measured on these very files, None
    where they were not, and `evidence` has those of each question;
    `parent` is the version that this one was made from; `published` is ISO
    8601 in UTC; `inputs_sha256` is the digest of all that decides what a build makes, by which a
    version that was built before is found; `provenance` says what it was made of and on what;
    `family` is the `model_type` of Hugging Face, `config`
    the model's configuration in their form, and `inputs` are the names of the model's inputs, where
    the release that built it wrote them; `pruning` is there where the version was pruned.

    Keys that this release does not know are ignored, so that a newer one can add some. A change
    that older releases must not overlook raises `schema_version`.
    """

    model: str
    version: int
    precision: str
    format: str
    source: str
    published: str
    files: Mapping[str, str]
    scores: Scores | None = None
    evidence: Evidence | None = None
    parent: int | None = None
    gate: GateResult | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    toolchain: Mapping[str, str] = field(default_factory=dict)
    provenance: Provenance | None = None
    inputs_sha256: str = ""
    family: str = ""
    inputs: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    pruning: Pruning | None = None
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest for JSON output, without the packed scores of each question."""
        plain = _plain(VersionManifest, self)
        if self.evidence is not None:
            del plain["evidence"]["questions"]
        return plain

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        adapter = TypeAdapter(VersionManifest)
        return adapter.dump_json(self, indent=2, exclude_none=True).decode() + "\n"

    @classmethod
    def read(cls, path: Path) -> VersionManifest:
        """Read a `manifest.json`.

        Args:
            path: The file.

        Returns:
            The manifest that it holds.

        Raises:
            RepositoryError: The file is missing, cannot be read, is not a manifest, or is one that
                only a newer release understands.
        """
        try:
            text = read_regular(path)
            schema = TypeAdapter(_Schema).validate_json(text).schema_version
            if schema > SCHEMA_VERSION:
                raise RepositoryError(
                    f"{path} was written by a newer release: it has schema_version {schema}, and "
                    f"this release reads up to {SCHEMA_VERSION}. Install a newer bertqa."
                )
            return TypeAdapter(cls).validate_json(text)
        except FileNotFoundError as error:
            raise RepositoryError(f"There is no {path}.") from error
        except OSError as error:
            raise RepositoryError(f"{path} cannot be read: {reason_of(error)}.") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise RepositoryError(
                f"{path} is not a version manifest: {f'{where}: ' if where else ''}{first['msg']}."
            ) from error


@dataclass(frozen=True, slots=True, config=_READING)
class _Schema:
    schema_version: int = SCHEMA_VERSION


def _plain(kind: Any, value: object) -> dict[str, Any]:
    plain: dict[str, Any] = TypeAdapter(kind).dump_python(value, mode="json", exclude_none=True)
    return plain
