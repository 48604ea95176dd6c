"""A release of the chart on a cluster, as a rollout sees and changes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

from bertqa_deploy.cluster.helm import Helm, Tracks
from bertqa_deploy.cluster.pods import Pod, Pods

LATEST = "latest"
ALL = 100


class Cluster(Protocol):
    """What a rollout needs of a cluster: a release's values and tracks, and a way to its pods.

    Attributes:
        model: The name of the model that the release serves.
    """

    model: str

    def values(self) -> Mapping[str, Any]:
        """Return all values of the release."""
        ...

    def tracks(self) -> Tracks:
        """Return the release's tracks."""
        ...

    def former_versions(self) -> Iterator[int]:
        """Return the versions that once had all traffic, the latest one first."""
        ...

    def set_tracks(
        self, tracks: Mapping[str, dict[str, Any] | None], wait_for: Collection[str]
    ) -> None:
        """Change tracks, and wait until some of them have rolled out.

        Args:
            tracks: The values of each track by its name; None removes a track.
            wait_for: The names of the tracks to wait for.
        """
        ...

    def pods(self) -> list[Pod]:
        """Return the server pods of all tracks."""
        ...

    def connect(self, pod: Pod) -> Any:
        """Return a context manager that yields a URL of the pod's own server."""
        ...


class HelmCluster:
    """A release of the chart, reached with `helm` and the Kubernetes API.

    Args:
        helm: The release.
        patience: Seconds to wait for a track to roll out.

    Raises:
        ClusterError: The cluster cannot be reached, or the release is of another chart version.
    """

    def __init__(self, helm: Helm, *, patience: float = 600) -> None:
        self._helm = helm
        self._patience = patience
        self.model = str(helm.values()["model"]["name"])
        helm.check_chart()
        self._pods = Pods(helm.release, helm.namespace)

    def values(self) -> Mapping[str, Any]:
        """See `Cluster`."""
        return self._helm.values()

    def tracks(self) -> Tracks:
        """See `Cluster`."""
        return self._helm.tracks()

    def former_versions(self) -> Iterator[int]:
        """See `Cluster`."""
        for revision in self._helm.revisions():
            for track in self._helm.tracks(revision).values():
                if track.get("weight") == ALL and track["version"] != LATEST:
                    yield int(track["version"])

    def set_tracks(
        self, tracks: Mapping[str, dict[str, Any] | None], wait_for: Collection[str]
    ) -> None:
        """See `Cluster`."""
        self._helm.set_tracks(tracks)
        self._pods.wait_until_rolled_out(wait_for, self._patience)

    def pods(self) -> list[Pod]:
        """See `Cluster`."""
        return self._pods.list()

    def connect(self, pod: Pod) -> Any:
        """See `Cluster`."""
        return self._pods.tunnel(pod)
