"""What a rollout reads from a target and brings it to: a split, what serves, and a memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bertqa.artifact import WHOLE, Split, format_split
from bertqa_deploy.errors import NothingToDoError


@dataclass(frozen=True, slots=True)
class Memory:
    """What a target keeps about its rollouts, so that any process can finish or undo them.

    Attributes:
        good: The last split that a rollout completed, or that was there before the first one; empty
            where no version has had traffic.
        goal: The split to which a rollout that is under way leads; None between rollouts.
        previous: The good split before, to which `--back` returns; None if there is none, as
            after a return.
        returning: Whether the rollout that is under way is such a return.
        held: Why the rollout that is under way is held; empty where it is not.
    """

    good: Split
    goal: Split | None = None
    previous: Split | None = None
    returning: bool = False
    held: str = ""

    def begun(self, goal: Split, *, returning: bool) -> Memory:
        """Return the memory of a rollout that begins.

        Args:
            goal: Percents by version.
            returning: Whether it returns to the split before.
        """
        return Memory(self.good, goal, self.previous, returning)

    def for_goal(self, goal: Split) -> Memory:
        """Return what a rollout to another split begins with.

        A return that was interrupted has shown which split is trusted: the one that it led to.

        Args:
            goal: Percents by version.
        """
        if self.returning and self.goal is not None and goal != self.goal:
            return Memory(self.goal, self.goal)
        return self

    def way_back(self) -> Split:
        """Return the split to which `--back` leads.

        Raises:
            NothingToDoError: There is none.
        """
        if self.goal is not None:
            return self.goal if self.returning else self.good
        if self.previous is None:
            raise NothingToDoError(
                f"There is nothing to go back to: {format_split(self.good) or 'no version'} is the "
                "last good split. --to moves the traffic to another version."
            )
        return self.previous

    def completed(self, split: Split) -> Memory:
        """Return the memory once a split is reached.

        After a return there is no way back: a second `--back` must not lead forward again. Where a
        return was undone, or only what is served has changed, the way back is as it was.

        Args:
            split: Percents by version.
        """
        if split == self.good:
            is_as_before = self.returning or self.goal in (None, split)
            return Memory(split, None, self.previous if is_as_before else None)
        return Memory(split, None, None if self.returning else self.good or None)


@dataclass(frozen=True, slots=True)
class State:
    """A target as it is, or as it should be.

    Attributes:
        split: Percents by version; versions without traffic are left out.
        served: The versions that can be asked, with or without traffic.
        memory: What the target remembers.
        settled: Whether all that says so agrees; False where something is left to be written even
            if the split stays, as before the first rollout or after one that was killed.
    """

    split: Split
    served: frozenset[int]
    memory: Memory
    settled: bool = True


def with_traffic(split: Mapping[int, float]) -> dict[int, float]:
    """Return a split without the versions that get no traffic.

    Args:
        split: Percents by version.
    """
    return {version: percent for version, percent in split.items() if percent > 0}


def ramp(start: Split, goal: Split, steps: tuple[int, ...]) -> list[dict[int, float]]:
    """Return the splits on the way from one to another, the goal last.

    The versions that gain traffic have together each of the steps' percents that lies in between;
    what they do not have stays with the others in proportion. Where no version has traffic at the
    beginning, nothing lies in between.

    Args:
        start: The split at the beginning, percents by version; it may be empty.
        goal: The split at the end.
        steps: Percents, ascending.
    """
    versions = sorted({*start, *goal})
    gains = [version for version in versions if goal.get(version, 0) > start.get(version, 0)]
    first = sum(start.get(version, 0) for version in gains)
    last = sum(goal.get(version, 0) for version in gains)
    ahead = [step for step in steps if start and first < step < last]
    parts = [(step - first) / (last - first) for step in ahead]
    return [*(_between(start, goal, versions, part) for part in parts), dict(goal)]


def _between(start: Split, goal: Split, versions: list[int], part: float) -> dict[int, float]:
    """Return the split at a part of the way, rounded so that it still sums to 100."""
    split = {
        version: round(start.get(version, 0) * (1 - part) + goal.get(version, 0) * part, 6)
        for version in versions
    }
    largest = max(versions, key=split.__getitem__)
    split[largest] = round(split[largest] + WHOLE - sum(split.values()), 6)
    return with_traffic(split)
