"""What a build made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bertqa.artifact import (
    MODEL_NAME,
    Evidence,
    GateResult,
    Pruning,
    Repository,
    Scores,
    VersionManifest,
)
from bertqa.errors import RepositoryError
from bertqa.evaluation import QuestionScores


@dataclass(frozen=True, slots=True)
class Scored:
    """What a file scored; `questions` has the scores of each question, where they are known."""

    scores: Scores
    questions: QuestionScores | None

    @classmethod
    def published(cls, manifest: VersionManifest) -> Scored:
        """Return what a manifest says.

        Args:
            manifest: The manifest of a version.

        Returns:
            Its scores.

        Raises:
            RepositoryError: It has none.
            DataError: The scores of its questions are damaged.
        """
        scores, evidence = manifest.scores, manifest.evidence
        if scores is None:
            raise RepositoryError(f"Version {manifest.version} was published without scores.")
        return cls(scores, None if evidence is None else QuestionScores.read(evidence, scores))

    @property
    def evidence(self) -> Evidence | None:
        """The scores of each question for a manifest."""
        return None if self.questions is None else self.questions.pack()


@dataclass(frozen=True, slots=True)
class BuiltVersion:
    """A version that a build published, or that it found there already (`present`)."""

    version: int
    precision: str
    scores: Scores
    gate: GateResult | None
    directory: Path
    present: bool
    pruning: Pruning | None = None

    @classmethod
    def of(
        cls, repository: Repository, number: int, *, present: bool, model: str = MODEL_NAME
    ) -> BuiltVersion:
        """Return a version as its manifest describes it.

        Args:
            repository: The repository that has it.
            number: Its number.
            present: Whether it was there before the build.
            model: The name of the model.

        Returns:
            The version.

        Raises:
            RepositoryError: The manifest cannot be read, or has no scores.
        """
        manifest = repository.manifest(number, model)
        if manifest.scores is None:
            raise RepositoryError(f"Version {number} was published without scores.")
        return cls(
            version=number,
            precision=manifest.precision,
            scores=manifest.scores,
            gate=manifest.gate,
            directory=repository.version_dir(number, model),
            present=present,
            pruning=manifest.pruning,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON output."""
        return {
            **asdict(self),
            "scores": self.scores.to_dict(),
            "gate": self.gate and self.gate.to_dict(),
            "directory": str(self.directory),
            "pruning": self.pruning and self.pruning.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The versions that a recipe makes, each with how the gate judged it.

    Attributes:
        fp32: The FP32 version.
        quantized: The INT8 version, None where the recipe makes none.
        pruned: The pruned versions, FP32 and INT8 in turns, by ascending speed-up.
    """

    fp32: BuiltVersion
    quantized: BuiltVersion | None
    pruned: tuple[BuiltVersion, ...] = ()

    @property
    def int8(self) -> BuiltVersion:
        """The INT8 version.

        Raises:
            RepositoryError: The recipe makes none.
        """
        if self.quantized is None:
            raise RepositoryError("The recipe makes no INT8 version.")
        return self.quantized

    @property
    def versions(self) -> tuple[BuiltVersion, ...]:
        """All versions, in the order in which they are made."""
        whole = (self.fp32,) if self.quantized is None else (self.fp32, self.quantized)
        return (*whole, *self.pruned)

    def of(self, precision: str) -> BuiltVersion:
        """Return the unpruned version of a precision.

        Args:
            precision: `FP32` or `INT8`.

        Raises:
            RepositoryError: The recipe makes none.
        """
        return self.fp32 if precision == self.fp32.precision else self.int8

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON output."""
        versions = [each.to_dict() for each in self.versions]
        last = (self.quantized or self.fp32).to_dict()
        return {"versions": versions, "gate": last["gate"]}


def partly_refused(refused: Sequence[str], made: Iterable[BuiltVersion]) -> str:
    """Return the sentences on versions some of which the gate refused.

    Args:
        refused: The sentences of the gate on those.
        made: The ones that are published.
    """
    return " ".join([*refused, f"Published of this recipe: {named(made)}."])


def named(versions: Iterable[BuiltVersion]) -> str:
    """Return the numbers of versions, and what each one is: `1 (FP32), 4 (INT8 at 1.5x)`.

    Args:
        versions: The versions, in any order.
    """
    return ", ".join(
        f"{each.version} ({each.precision}"
        + (f" at {each.pruning.speedup:g}x)" if each.pruning else ")")
        for each in sorted(versions, key=lambda each: each.version)
    )
