"""What a release serves now: its tracks with their versions, weights and pods."""

from __future__ import annotations

from dataclasses import dataclass

from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.pods import Pod, Pods


@dataclass(frozen=True, slots=True)
class TrackStatus:
    """One track; `weight` is its percentage of the traffic, `version` a number or "latest"."""

    track: str
    version: str
    weight: int
    pods: list[Pod]

    @property
    def ready(self) -> int:
        """How many of its pods are ready."""
        return sum(pod.ready for pod in self.pods)


def track_statuses(helm: Helm) -> list[TrackStatus]:
    """Return the tracks of a release, in the order of their names. Raises ClusterError."""
    tracks = helm.tracks()
    pods = Pods(helm.release, helm.namespace).list()
    return [
        TrackStatus(
            name,
            str(track["version"]),
            int(track.get("weight", 0)),
            [pod for pod in pods if pod.track == name],
        )
        for name, track in sorted(tracks.items())
    ]
