"""Where a rollout stands, read without a change: the same for every target."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bertqa.artifact import Split
from bertqa_deploy.errors import NothingToDoError
from bertqa_deploy.rollout._state import Memory
from bertqa_deploy.waiting import named


class Phase(StrEnum):
    """What a target's rollout is doing."""

    COMPLETE = "complete"
    UNDER_WAY = "under_way"
    HELD = "held"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rollout stands.

    Attributes:
        target: What is moved, as in "release bert-qa".
        split: Percents by version, as they are now.
        memory: What the target remembers.
        served: The versions that can be asked; None where that cannot be known now.
        remarks: Sentences about what is not as it should be.
    """

    target: str
    split: Split
    memory: Memory
    served: Collection[int] | None
    remarks: Sequence[str] = ()

    @property
    def phase(self) -> Phase:
        """What the rollout is doing; one that a killed process left is under way as well."""
        if self.memory.goal is None:
            return Phase.COMPLETE
        if self.memory.returning:
            return Phase.RETURNING
        return Phase.HELD if self.memory.held else Phase.UNDER_WAY

    @property
    def previous(self) -> Split | None:
        """The split to which `back` leads; None if there is none."""
        try:
            return self.memory.way_back()
        except NothingToDoError:
            return None

    @property
    def warnings(self) -> list[str]:
        """What is not as it should be, versions with traffic that cannot be asked included."""
        away = set() if self.served is None else self.split.keys() - set(self.served)
        if not away:
            return list(self.remarks)
        verb = "has" if len(away) == 1 else "have"
        first = f"{named(away).capitalize()} {verb} traffic, and cannot be asked: use --back."
        return [first, *self.remarks]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON: the same keys for every target."""
        return {
            "target": self.target,
            "phase": self.phase,
            "split": dict(self.split),
            "good": dict(self.memory.good),
            "goal": None if self.memory.goal is None else dict(self.memory.goal),
            "previous": None if self.previous is None else dict(self.previous),
            "served": None if self.served is None else sorted(self.served),
            "held_reason": self.memory.held or None,
            "warnings": self.warnings,
        }
