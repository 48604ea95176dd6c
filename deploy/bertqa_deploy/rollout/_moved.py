"""What a rollout comes to: the same for every target, and however it ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from bertqa.artifact import Split
from bertqa_deploy.errors import (
    DeployError,
    InconclusiveError,
    NothingToDoError,
    RolledBackError,
)
from bertqa_deploy.rollout._analysis import Held, Judgement


class Outcome(StrEnum):
    """How a rollout ended."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    HELD = "held"
    RETURNED = "returned"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Moved:
    """What a rollout has come to.

    Attributes:
        outcome: How it ended. Only a rollout that moved the traffic, or had nothing to do, returns;
            with another outcome this is the `moved` of the error.
        target: What was moved, as in "release bert-qa".
        split: Percents by version.
        previous: The split to which `back` returns; None if there is none.
        served: The versions that can be asked.
        retired: The versions that could be asked before.
        evidence: What was heard on each candidate before it got traffic.
        held: What was seen at each step.
        seconds: How long it took.
    """

    outcome: Outcome
    target: str
    split: Split
    previous: Split | None
    served: list[int]
    retired: list[int]
    evidence: list[Judgement]
    held: list[Held]
    seconds: float

    @property
    def default(self) -> int:
        """The version that answers clients of one server that name none: the highest."""
        return max(self.served)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON: the same keys for every target."""
        return {
            "outcome": self.outcome,
            "target": self.target,
            "split": dict(self.split),
            "previous": None if self.previous is None else dict(self.previous),
            "served": self.served,
            "retired": self.retired,
            "evidence": [asdict(each) for each in self.evidence],
            "held": [each.to_dict() for each in self.held],
            "seconds": self.seconds,
        }


OUTCOMES: dict[type[DeployError], Outcome] = {
    NothingToDoError: Outcome.UNCHANGED,
    InconclusiveError: Outcome.HELD,
    RolledBackError: Outcome.RETURNED,
}
