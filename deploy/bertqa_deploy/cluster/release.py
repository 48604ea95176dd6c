"""A release of the chart on a cluster, as a rollout reads and changes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any

from bertqa.artifact import Split
from bertqa_deploy.cluster.helm import Helm, Values
from bertqa_deploy.cluster.latest import put_numbers
from bertqa_deploy.cluster.pods import Pod, Pods
from bertqa_deploy.cluster.services import Services
from bertqa_deploy.cluster.waiting import Waiting
from bertqa_deploy.waiting import OnWait


class HelmCluster:
    """A release, reached with `helm` and the Kubernetes API.

    Args:
        helm: The release.
        patience: Seconds to wait for pods, Services and routes to follow.
        on_wait: Is called with what is waited for, after 5 seconds and then at doubled intervals.

    Raises:
        ClusterError: The cluster cannot be reached, or the release is of another chart.

    Attributes:
        name: The name of the release.
        model: The name of the model that it serves.
        following: The tracks that follow the newest version, with the version that their pods
            served when the values were read last.
    """

    def __init__(
        self, helm: Helm, *, patience: float = 600, on_wait: OnWait = lambda _: None
    ) -> None:
        self._helm = helm
        self._waiting = Waiting(patience, on_wait)
        self._revision: int | None = None
        self.following: dict[str, int] = {}
        self.name = helm.release
        helm.check_chart()
        values = helm.values()
        model, place = values["model"], helm.place(values)
        self.model = str(model["name"])
        self._is_downloaded = bool(model["storage"]["uri"])
        self._pods = Pods(helm.release, place)
        self._services = Services(helm.release, place)

    def values(self) -> Values:
        """Return all values of the release, as they are now.

        In the place of `latest` is the version that the track's pods serve, while one is ready.
        """
        return self._numbered(self._helm.values(self._helm.settle()))

    def begin(self) -> Values:
        """Return what `values` does; every change builds on them from now on."""
        self._revision = self._helm.settle()
        return self._numbered(self._helm.values(self._revision))

    def was_interrupted(self) -> bool:
        """Return whether an interrupted upgrade was found since this was last asked."""
        found, self._helm.took_up = self._helm.took_up, False
        return found

    def resume(self) -> Values:
        """Return what `values` does, which nothing but this process changed since `begin`.

        Raises:
            SwitchedMeanwhileError: Another process changed it.
            ClusterError: The cluster cannot be reached, or refuses.
        """
        self._revision = self._helm.settle(self._revision)
        return self._numbered(self._helm.values(self._revision))

    def _numbered(self, values: Values) -> Values:
        self.following = put_numbers(values, self._pods)
        return values

    def upgrade(
        self, tracks: Mapping[str, dict[str, Any] | None], rollout: Mapping[str, Any]
    ) -> None:
        """Change tracks and the memory of the rollout.

        Args:
            tracks: The values of each track by its name; None removes a track.
            rollout: The memory, as the chart's values have it.

        Raises:
            SwitchedMeanwhileError: Another process changed the release since it was read.
            ClusterError: The cluster cannot be reached, or refuses.
        """
        self._revision = self._helm.upgrade(tracks, rollout, since=self._revision)

    def replicas(self, track: str) -> int:
        """Return how many pods a track has now."""
        return self._pods.replicas(track)

    def wait_until_rolled_out(self, tracks: Collection[str]) -> None:
        """Wait until all pods of some tracks are ready.

        Args:
            tracks: Their names.
        """
        self._pods.wait_until_rolled_out(
            tracks, self._waiting, self.model, is_downloaded=self._is_downloaded
        )

    def wait_until_one_is_ready(self, tracks: Collection[str]) -> None:
        """Wait until each of some tracks has a ready pod.

        Args:
            tracks: Their names.
        """
        self._pods.wait_until_one_is_ready(tracks, self._waiting)

    def wait_until_led(self, *, routed: bool, to_ready: bool) -> None:
        """Wait until Services and gateways lead traffic where the weights say.

        Args:
            routed: Whether the release has routes; if not, no right to look at routes is needed.
            to_ready: Whether to wait for a pod, too, where none of the track with the traffic is
                ready.
        """
        self._services.wait_until_led(self._pods.present, self._waiting, to_ready=to_ready)
        if routed:
            self._services.wait_until_routed(self._waiting)

    def wait_until_followed(self, split: Split) -> None:
        """Wait until the pods of the HTTP API follow a split.

        Args:
            split: The percents by version.
        """
        self._pods.wait_until_followed(split, self._waiting)

    def wait_until_only(self, tracks: Collection[str]) -> None:
        """Wait until the pods of tracks that were removed have ended.

        Args:
            tracks: The names of those that are left.
        """
        self._pods.wait_until_only(tracks, self._waiting)

    def has_only(self, tracks: Collection[str]) -> bool:
        """Return whether there are pods of these tracks alone, those included that are ending."""
        return all(pod.track in tracks for pod in self._pods.all())

    def pods(self) -> list[Pod]:
        """Return the server pods of all tracks that are not being deleted."""
        return self._pods.present()

    def connect(self, pod: Pod) -> AbstractContextManager[str]:
        """Return a context manager that yields a URL of the pod's own server."""
        return self._pods.tunnel(pod)
