"""The versions that a recipe makes, and which of them are published already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bertqa_build.checkpoint import Checkpoint
from bertqa_build.fingerprint import (
    DataDigests,
    checkpoint_digest,
    fp32_fingerprint,
    int8_fingerprint,
    published_fingerprint,
    toolchain,
)
from bertqa_build.pruning.plan import Member, Plan, plan_of
from bertqa_build.recipe import Recipe
from bertqa_build.result import BuildResult, BuiltVersion


@dataclass(frozen=True, slots=True)
class Wanted:
    """The versions that a recipe makes, each known by the digest of all that decides it.

    Attributes:
        checkpoint: The digest of the checkpoint, before any training.
        model: That of the FP32 model, however its embeddings are stored.
        fp32: That of the FP32 version.
        int8: That of the INT8 version, None where the recipe makes none.
        pruning: The pruned versions, None where there are not any.
    """

    checkpoint: str
    model: str
    fp32: str
    int8: str | None
    pruning: Plan | None

    @property
    def members(self) -> tuple[Member, ...]:
        """The pairs of pruned versions, by ascending speed-up."""
        return self.pruning.members if self.pruning else ()

    @property
    def pruned(self) -> tuple[str, ...]:
        """The digests of the pruned versions, FP32 and INT8 in turns."""
        return tuple(digest for each in self.members for digest in (each.fp32, each.int8))

    @property
    def prints(self) -> tuple[str, ...]:
        """All digests, in the order in which the versions are made."""
        return tuple(filter(None, (self.fp32, self.int8, *self.pruned)))

    def decisive(self, data: DataDigests) -> dict[str, object]:
        """Return what all processes of a build have to have alike, by its name.

        Args:
            data: The digests of the recipe's data.
        """
        return {
            "packages": toolchain(),
            "data": dict(data),
            "checkpoint": self.checkpoint,
            "recipe or latency table": self.prints,
        }

    def is_missing(self, found: Mapping[str, BuiltVersion]) -> bool:
        """Return whether one of the versions was not found."""
        return any(each not in found for each in self.prints)

    def whole(self, found: Mapping[str, BuiltVersion]) -> BuildResult:
        """Return the versions that are not pruned."""
        return BuildResult(found[self.fp32], found[self.int8] if self.int8 else None)

    def result(self, found: Mapping[str, BuiltVersion]) -> BuildResult:
        """Return all versions."""
        return replace(self.whole(found), pruned=tuple(found[each] for each in self.pruned))


def wanted_of(
    recipe: Recipe, checkpoint: Checkpoint, data: DataDigests, work_dir: Path, *, strict: bool
) -> Wanted:
    """Return what a recipe makes, and refuse what it cannot prune.

    Args:
        recipe: The recipe.
        checkpoint: What it is made of.
        data: The digests of the recipe's data.
        work_dir: Where latency tables that were measured are kept.
        strict: Whether a latency table of another machine is refused.

    Raises:
        BuildError: The family cannot be pruned, or the latency table does not fit.
    """
    digest = checkpoint_digest(checkpoint)
    model = fp32_fingerprint(recipe, digest, checkpoint.revision, data)
    return Wanted(
        digest,
        model,
        published_fingerprint(model, recipe),
        int8_fingerprint(recipe, model, data) if recipe.makes_int8 else None,
        None
        if recipe.pruning is None
        else plan_of(recipe, checkpoint, model, data, work_dir, strict=strict),
    )
