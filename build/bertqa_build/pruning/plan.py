"""What a recipe's pruning makes: its steps, its versions, and what they are expected to reach."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from bertqa._progress import OnProgress, ignore
from bertqa_build.pruning.choosing import require_reachable
from bertqa_build.pruning.gradual import Step
from bertqa_build.pruning.latency import LatencyTable
from bertqa_build.pruning.sizes import sizes_of
from bertqa_build.pruning.tables import TableSource


@dataclass(frozen=True, slots=True)
class Member:
    """A pair of versions, FP32 and INT8, of one speed-up.

    Attributes:
        step: The step that makes its model.
        int8: The fingerprint of the INT8 version.
    """

    step: Step
    int8: str

    @property
    def fp32(self) -> str:
        """The fingerprint of the FP32 version."""
        return self.step.fingerprint


@dataclass(frozen=True, slots=True)
class Plan:
    """The versions that a recipe's pruning makes.

    Attributes:
        source: Where the latency table comes from.
        members: The versions, by ascending speed-up.
    """

    source: TableSource
    members: tuple[Member, ...]

    def table(self, model: PreTrainedModel, on_progress: OnProgress = ignore) -> LatencyTable:
        """Return the latency table, by which all speed-ups can be reached.

        Args:
            model: The unpruned model.
            on_progress: Called with how far its measurement is.

        Raises:
            BuildError: A speed-up cannot be reached; the message says the largest.
        """
        table = self.source.table(on_progress)
        require_reachable(self.members[-1].step.speedup, sizes_of(model), table)
        return table
