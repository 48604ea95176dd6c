"""What an endpoint remembers of its rollouts: its traffic, and tags of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten

from azure.ai.ml.entities import OnlineEndpoint

from bertqa.artifact import Split, format_split, parse_split
from bertqa.errors import InvalidOptionError
from bertqa_deploy.azureml.versions import to_split, to_traffic, whole_percents
from bertqa_deploy.errors import AzureError
from bertqa_deploy.rollout import Memory

# The first two are there while a rollout is under way.
GOOD_TAG = "bert-qa-split-good"
GOAL_TAG = "bert-qa-split-goal"
PREVIOUS_TAG = "bert-qa-split-before"
RETURNING_TAG = "bert-qa-split-returning"
HELD_TAG = "bert-qa-split-held"
TAGS = (GOOD_TAG, GOAL_TAG, PREVIOUS_TAG, RETURNING_TAG, HELD_TAG)
# So long the value of a tag may be.
_TAG_CHARACTERS = 256
_YES = "yes"


@dataclass(frozen=True, slots=True)
class Written:
    """What a rollout writes into an endpoint, in one update.

    Attributes:
        traffic: Percent of the traffic by deployment; deployments without traffic are left out.
        tags: The tags of rollouts, without those of others.
    """

    traffic: Mapping[str, int]
    tags: Mapping[str, str]

    @classmethod
    def found_in(cls, endpoint: OnlineEndpoint) -> Written:
        """Return what an endpoint holds.

        Args:
            endpoint: The endpoint, as read from Azure.
        """
        tags = endpoint.tags or {}
        return cls(
            {name: percent for name, percent in (endpoint.traffic or {}).items() if percent},
            {tag: str(tags[tag]) for tag in TAGS if tag in tags},
        )

    @classmethod
    def of(cls, split: Split, memory: Memory) -> Written:
        """Return how a split and a memory are written.

        Args:
            split: Percent by version, which Azure takes in whole percents alone: it is rounded.
            memory: The memory. Between rollouts its good split is the traffic itself.
        """
        tags = {}
        if memory.goal is not None:
            tags = {GOOD_TAG: format_split(memory.good), GOAL_TAG: format_split(memory.goal)}
        if memory.previous is not None:
            tags[PREVIOUS_TAG] = format_split(memory.previous)
        if memory.returning:
            tags[RETURNING_TAG] = _YES
        if memory.held:
            tags[HELD_TAG] = shorten(memory.held, _TAG_CHARACTERS, placeholder=" ...")
        return cls(to_traffic(whole_percents(split)), tags)

    @property
    def split(self) -> dict[int, float]:
        """Percent of the traffic by version."""
        return to_split(self.traffic)

    def memory(self, endpoint: str) -> Memory:
        """Return the memory.

        Args:
            endpoint: The endpoint's name.

        Raises:
            AzureError: A tag is not a split.
        """
        goal, good = self._tagged(GOAL_TAG, endpoint), self._tagged(GOOD_TAG, endpoint)
        return Memory(
            self.split if goal is None or good is None else good,
            goal,
            self._tagged(PREVIOUS_TAG, endpoint),
            self.tags.get(RETURNING_TAG) == _YES,
            self.tags.get(HELD_TAG, ""),
        )

    def _tagged(self, tag: str, endpoint: str) -> Split | None:
        text = self.tags.get(tag)
        if text is None:
            return None
        try:
            return parse_split(text) if text else {}
        except InvalidOptionError as error:
            raise AzureError(
                f"The tag {tag} of {endpoint} is {text!r}, which is not a split: nothing was "
                "changed. Correct or remove it, as in `az ml online-endpoint update --name "
                f"{endpoint} --remove tags.{tag}`.",
                detail=str(error),
            ) from error
