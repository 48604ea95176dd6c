"""What a release serves now, read without a change: its tracks, and where its rollout stands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bertqa_deploy.cluster.defaults import LATEST
from bertqa_deploy.cluster.helm import Helm, tracks_of
from bertqa_deploy.cluster.latest import put_numbers
from bertqa_deploy.cluster.pods import Pod, Pods
from bertqa_deploy.cluster.traffic import release_of
from bertqa_deploy.rollout import Standing


@dataclass(frozen=True, slots=True)
class TrackStatus:
    """One track of a release.

    Attributes:
        track: Its name.
        version: The number of its version, or "latest".
        serves: The number of the version that its pods serve; None where it follows the newest
            one, and none of them is ready to say which that is.
        weight: Its percentage of the traffic.
        pods: Its pods.
    """

    track: str
    version: str
    serves: int | None
    weight: int
    pods: list[Pod]

    @property
    def ready(self) -> int:
        """The number of its pods that are ready."""
        return sum(pod.ready for pod in self.pods)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON, where `version` is a number: that which its pods serve."""
        pods = [asdict(pod) for pod in self.pods]
        for pod in pods:
            # "latest" until it is ready, and nothing where the chart did not write it.
            pod["version"] = int(pod["version"]) if pod["version"].isdecimal() else None
        return {
            "track": self.track,
            "version": self.serves,
            "follows_latest": self.version == LATEST,
            "weight": self.weight,
            "pods": pods,
        }


def track_statuses(helm: Helm) -> list[TrackStatus]:
    """Return the tracks of a release, sorted by name.

    Raises:
        ClusterError: The cluster cannot be reached, refuses, or has no such release.
    """
    helm.check_kind()
    values = helm.values()
    found = Pods(helm.release, helm.place(values))
    pods, following = found.present(), put_numbers(values, found)
    return [
        TrackStatus(
            name,
            LATEST if name in following else str(track["version"]),
            None if track["version"] == LATEST else int(track["version"]),
            int(track.get("weight", 0)),
            [pod for pod in pods if pod.track == name],
        )
        for name, track in sorted(tracks_of(values).items())
    ]


def standing_of(helm: Helm) -> Standing:
    """Return where a release's rollout stands.

    It takes the right to read the release alone, but for a track that follows the newest version:
    its pods are asked which that is.

    Args:
        helm: The release.

    Raises:
        ClusterError: The cluster cannot be reached, refuses, has no such release, or another
            controller moves its traffic.
    """
    helm.check_kind()
    values, remark = helm.in_effect()
    put_numbers(values, Pods(helm.release, helm.place(values)))
    state = release_of(values).state
    remarks = [] if remark is None else [remark]
    return Standing(f"release {helm.release}", state.split, state.memory, state.served, remarks)
