"""What a release serves now: its tracks with their versions, weights and pods."""

from __future__ import annotations

from dataclasses import dataclass

from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.pods import Pod, Pods


@dataclass(frozen=True, slots=True)
class TrackStatus:
    """One track of a release.

    Attributes:
        track: Its name.
        version: The number of its version, or "latest".
        weight: Its percentage of the traffic.
        pods: Its pods.
    """

    track: str
    version: str
    weight: int
    pods: list[Pod]

    @property
    def ready(self) -> int:
        """The number of its pods that are ready."""
        return sum(pod.ready for pod in self.pods)


def track_statuses(helm: Helm) -> list[TrackStatus]:
    """Return the tracks of a release, sorted by name.

    Raises:
        ClusterError: The cluster cannot be reached, refuses, or has no such release.
    """
    tracks = helm.tracks()
    pods = Pods(helm.release, helm.access).present()
    return [
        TrackStatus(
            name,
            str(track["version"]),
            int(track.get("weight", 0)),
            [pod for pod in pods if pod.track == name],
        )
        for name, track in sorted(tracks.items())
    ]
