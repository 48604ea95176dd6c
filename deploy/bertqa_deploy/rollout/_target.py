"""Where traffic can be moved: the contract of a rollout with its targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bertqa.artifact import Split
from bertqa_deploy.rollout._counts import Counts
from bertqa_deploy.rollout._state import State


class TrafficTarget(Protocol):
    """A server with its config.json, a Helm release, or an Azure ML endpoint.

    A rollout only ever asks for states that serve all who have traffic. A target brings itself from
    any state to any such state without a failed request, in effects of which each leaves a state
    that serves; so a rollout may be killed at any of them.

    Attributes:
        name: What the target is called in results, as in "release bert-qa".
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def current(self) -> State:
        """Return the state now, read anew.

        Raises:
            BertQAError: The target cannot be reached, or is not as a rollout needs it.
        """
        ...

    def check(self, goal: Split) -> None:
        """Refuse a split that the target cannot reach, before anything is done.

        Args:
            goal: Percents by version: those of the goal, then those of each split on the way.

        Raises:
            BertQAError: It cannot.
        """
        ...

    def kept(self, state: State, goal: Split) -> frozenset[int]:
        """Return the versions that are served once a goal is reached.

        Args:
            state: The target as it was before this rollout, or before it was resumed.
            goal: Percents by version.
        """
        ...

    def prove(self, versions: frozenset[int]) -> None:
        """Ask versions that are served without traffic the smoke question.

        Args:
            versions: Their numbers.

        Raises:
            DeployError: One does not answer, or wrongly.
        """
        ...

    def apply(self, wanted: State) -> None:
        """Bring the target to a state, and return once it holds.

        What is so already is left alone. An error before the first effect of a rollout is raised as
        it is; any other is undone. The memory is written before or with the split, and
        versions that the state does not serve are taken away last.

        Args:
            wanted: The state.

        Raises:
            BertQAError: The target cannot be reached, refuses, or is not done in time.
        """
        ...

    def observe(self, version: int) -> Mapping[str, Counts]:
        """Return what the servers of a version counted since they started, by server.

        Args:
            version: Its number.

        Raises:
            MetricMissingError: They do not count what is needed.
            BertQAError: They cannot be read.
        """
        ...
