"""What a recipe's pruning makes: its steps, its versions, and what they are expected to reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bertqa._progress import OnProgress, ignore
from bertqa_build.checkpoint import Checkpoint, require_positions
from bertqa_build.fingerprint import DataDigests, int8_fingerprint, published_fingerprint
from bertqa_build.pruning.choosing import require_reachable
from bertqa_build.pruning.description import Description, describe
from bertqa_build.pruning.gradual import Step, require_enough_tokens, steps_of
from bertqa_build.pruning.latency import LatencyTable
from bertqa_build.pruning.sizes import sizes_of
from bertqa_build.pruning.tables import TableSource, encoder_of
from bertqa_build.recipe import Recipe
from bertqa_build.recipe_data import RecipeData


@dataclass(frozen=True, slots=True)
class Member:
    """A pair of versions, FP32 and INT8, of one speed-up.

    Attributes:
        step: The step that makes its model.
        fp32: The fingerprint of the FP32 version.
        int8: The fingerprint of the INT8 version.
    """

    step: Step
    fp32: str
    int8: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The versions that a recipe's pruning makes.

    Attributes:
        recipe: The recipe, with a `pruning` section.
        checkpoint: What is pruned.
        source: Where the latency table comes from.
        members: The versions, by ascending speed-up.
    """

    recipe: Recipe
    checkpoint: Checkpoint
    source: TableSource
    members: tuple[Member, ...]

    def table(self, data: RecipeData, on_progress: OnProgress = ignore) -> LatencyTable:
        """Return the latency table, and refuse what cannot be pruned before any work.

        Args:
            data: The recipe's data.
            on_progress: Called with how far its measurement is.

        Raises:
            BuildError: A speed-up cannot be reached, of which the message says the largest; or the
                calibration data are too few.
        """
        require_enough_tokens(self.recipe, data, self.checkpoint)
        table = self.source.table(on_progress)
        sizes = sizes_of(self.checkpoint.model)
        require_reachable(self.members[-1].step.speedup, sizes, table)
        return table

    def description(self, data: RecipeData, on_progress: OnProgress = ignore) -> Description:
        """Return what the latency table predicts; nothing is written.

        Args:
            data: The recipe's data.
            on_progress: Called with how far the measurement is, where there is no table yet.

        Raises:
            BuildError: The calibration data are too few.
        """
        assert self.recipe.pruning is not None
        require_enough_tokens(self.recipe, data, self.checkpoint)
        sizes = sizes_of(self.checkpoint.model)
        return describe(
            self.source.table(on_progress, keep=False), sizes, self.recipe.pruning.speedup
        )


def plan_of(
    recipe: Recipe,
    checkpoint: Checkpoint,
    fp32: str,
    data: DataDigests,
    work_dir: Path,
    *,
    strict: bool,
) -> Plan:
    """Return what a recipe's pruning makes, and refuse what it cannot prune.

    Args:
        recipe: The recipe, with a `pruning` section.
        checkpoint: What is pruned.
        fp32: The fingerprint of the unpruned FP32 model.
        data: The digests of the recipe's data.
        work_dir: Where latency tables that were measured are kept.
        strict: Whether a latency table of another machine is refused.

    Raises:
        BuildError: The family cannot be pruned, the model has no positions for so many tokens, or
            the latency table does not fit.
    """
    encoder = encoder_of(checkpoint.model.config, checkpoint.description)
    pruning = recipe.pruning
    assert pruning is not None
    for key, tokens in (("at.tokens", pruning.at.tokens), ("max_seq_len", pruning.max_seq_len)):
        require_positions(checkpoint, f"pruning.{key} is {tokens}", tokens)
    source = TableSource(recipe, encoder, work_dir, strict=strict)
    members = tuple(
        Member(
            step,
            published_fingerprint(step.fingerprint, recipe),
            int8_fingerprint(recipe, step.fingerprint, data),
        )
        for step in steps_of(recipe, fp32, source.digest, data)
        if step.is_version
    )
    return Plan(recipe, checkpoint, source, members)
