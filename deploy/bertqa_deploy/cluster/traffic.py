"""What the values of a release say about its traffic, and the memory of its rollouts in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertqa.artifact import Split, format_split, parse_split
from bertqa_deploy.cluster.defaults import LATEST
from bertqa_deploy.cluster.helm import Tracks, Values, tracks_of
from bertqa_deploy.errors import ClusterError
from bertqa_deploy.rollout import Memory, State

_ALL = 100


@dataclass(frozen=True, slots=True)
class Release:
    """What the values of a release say.

    Attributes:
        tracks: The values of each track.
        routed: Whether the routes of a gateway split the traffic.
        answers_http: Whether the HTTP API splits what it is asked.
        memory: The memory of a rollout.
    """

    tracks: Tracks
    routed: bool
    answers_http: bool
    memory: Mapping[str, Any]

    @property
    def weighted(self) -> bool:
        """Whether weights split traffic; else the heaviest track has it all."""
        return self.routed or self.answers_http

    @property
    def names(self) -> dict[int, str]:
        """The track of each version."""
        return {int(track["version"]): name for name, track in self.tracks.items()}

    @property
    def heaviest(self) -> str:
        """The track that the chart's Services over all tracks select."""
        return min(
            self.tracks,
            key=lambda name: (-weight_of(self.tracks[name]), name != "stable", name),
        )

    @property
    def state(self) -> State:
        """The release as a rollout sees it."""
        if self.weighted:
            weights = {int(t["version"]): float(weight_of(t)) for t in self.tracks.values()}
            split = {version: weight for version, weight in weights.items() if weight}
        else:
            split = {int(self.tracks[self.heaviest]["version"]): float(_ALL)}
        return State(split, frozenset(self.names), _memory(self.memory, split))


def release_of(values: Values) -> Release:
    """Return what the values of a release say; refuse one whose traffic is not to be moved here.

    Args:
        values: All values of the release.

    Raises:
        ClusterError: Its traffic is not to be moved here.
    """
    tracks = tracks_of(values)
    if values.get("kserve", {}).get("enabled"):
        raise ClusterError(
            "KServe moves the traffic of this release: its canary is the weight of the newest "
            "track, and `helm upgrade` changes that."
        )
    if values.get("rollouts", {}).get("enabled"):
        raise ClusterError(
            "Argo Rollouts moves the traffic of this release (rollouts.enabled): `helm upgrade` "
            "with another version starts a rollout, and `kubectl argo rollouts undo` returns."
        )
    following = [name for name, track in tracks.items() if track["version"] == LATEST]
    if following:
        raise ClusterError(
            f"The track {following[0]} follows the newest version, and none of its pods is ready "
            "to say which that is: `kubectl describe pods` says why."
        )
    if len(tracks) > 2:
        raise ClusterError(
            f"The release has the tracks {', '.join(sorted(tracks))}: a switch is between two."
        )
    routed, answers_http = (
        bool(values.get(part, {}).get("enabled")) for part in ("gateway", "httpApi")
    )
    release = Release(tracks, routed, answers_http, values.get("rollout") or {})
    if len(release.names) < len(tracks):
        raise ClusterError(
            f"The tracks {' and '.join(sorted(tracks))} have the same version: remove one first."
        )
    return release


def weight_of(track: Mapping[str, Any]) -> int:
    """Return the weight of a track in percent.

    Args:
        track: The values of the track.
    """
    return int(track.get("weight") or 0)


def _memory(values: Mapping[str, Any], split: Split) -> Memory:
    """Read the memory from a release's values.

    A split that no rollout made counts as good, and the good one before as that to return to.
    """
    good, goal, previous = (
        parse_split(values[key]) if values.get(key) else None
        for key in ("good", "goal", "previous")
    )
    if good is None:
        return Memory(split)
    if goal is None and good != split:
        return Memory(split, None, good)
    returning = bool(values.get("returning"))
    return Memory(good, goal, previous, returning, str(values.get("held") or ""))


def values_of(memory: Memory) -> dict[str, Any]:
    """Return a memory as the values of a release have it.

    Args:
        memory: The memory.
    """
    return {
        "good": format_split(memory.good),
        "goal": format_split(memory.goal or {}),
        "previous": format_split(memory.previous or {}),
        "returning": memory.returning,
        "held": memory.held,
    }
