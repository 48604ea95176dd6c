"""The pods of a release's tracks, and a way into each that network policies do not block."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes import client
from kubernetes.stream import portforward

from bertqa.artifact import SPLIT_METRIC, Split, format_split
from bertqa.errors import BertQAError
from bertqa.transport import ANSWER_SECONDS, AVAILABLE, AdminClient, VersionState, rest_address
from bertqa_deploy.cluster.access import Access, explaining, labels_of
from bertqa_deploy.cluster.trouble import trouble_of, trouble_of_deployment
from bertqa_deploy.cluster.tunnel import Tunnel
from bertqa_deploy.cluster.waiting import Waiting
from bertqa_deploy.errors import ClusterError

# Where OVMS itself listens in a pod, on loopback: neither the proxy nor TLS is in between.
OVMS_REST_PORT = 8001
HTTP_API_PORT = 8080
_SERVER = "ovms"
_VERIFIER = "verify-model"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a track.

    Attributes:
        name: Its name.
        track: The track that its label names.
        version: The version that its annotation names.
        ready: Whether it is ready.
        started: Whether its server's container runs and has loaded the model once.
        restarts: How often that container was restarted.
        ending: Whether it is being deleted.
        running: Whether that container runs.
        trouble: Why it is not ready, as far as its status says it.
        refused: Whether its version was verified more than once, and refused.
    """

    name: str
    track: str
    version: str
    ready: bool
    started: bool = True
    restarts: int = 0
    ending: bool = False
    running: bool = True
    trouble: str = ""
    refused: bool = False


class Pods:
    """The pods of one release, by the labels of the chart.

    Args:
        release: The name of the Helm release.
        access: The cluster and the release's namespace.

    Raises:
        ClusterError: The configuration of the cluster cannot be used.
    """

    def __init__(self, release: str, access: Access) -> None:
        self.namespace = access.namespace
        self._labels = labels_of(release, component="server")
        self._http_api_labels = labels_of(release, component="http-api")
        api = access.open_client()
        self._core = client.CoreV1Api(api)
        self._apps = client.AppsV1Api(api)
        # Opening a stream borrows the client that it is given.
        self._streams = client.CoreV1Api(access.open_client())
        self._opening = threading.Lock()

    def present(self) -> list[Pod]:
        """Return the pods that are not being deleted.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        return [pod for pod in self.all() if not pod.ending]

    def all(self) -> list[Pod]:
        """Return the pods, those included that are being deleted.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        with explaining(self.namespace, "pods"):
            found: Any = self._core.list_namespaced_pod(self.namespace, label_selector=self._labels)
        return [_pod(each) for each in found.items]

    def replicas(self, track: str) -> int:
        """Return how many pods a track has now, autoscaled or not.

        Args:
            track: The name of the track.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        deployment = self._deployments().get(track)
        return 0 if deployment is None else deployment.spec.replicas or 0

    def wait_until_rolled_out(
        self,
        tracks: Collection[str],
        waiting: Waiting,
        model: str = "",
        *,
        is_downloaded: bool = False,
    ) -> None:
        """Wait until the pods of these tracks run what their Deployments specify.

        Args:
            tracks: The names of the tracks.
            waiting: How long to wait.
            model: The model of which each track has to serve its version: a server that says that
                it does not have it, or cannot load it, is not waited for.
            is_downloaded: Whether servers download their version first, and do not list it before.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or is not done in time; or a
                server does not have its version.
        """
        lacking: set[str] = set()

        def missing() -> str | None:
            found = self._deployments()
            waited = {
                name: found[name].metadata.name if name in found else f"the track {name}"
                for name in sorted(tracks)
                if name not in found or not _is_rolled_out(found[name])
            }
            if not waited:
                return None
            pods = [pod for pod in self.present() if pod.track in waited and not pod.ready]
            if model:
                self._refuse_lost(pods, model, None if is_downloaded else lacking)
            made = [found[name] for name in waited if name in found]
            troubled = [
                *((each.metadata.name, trouble_of_deployment(each.status)) for each in made),
                *((pod.name, pod.trouble) for pod in pods),
            ]
            troubles = "; ".join(f"{name}: {trouble}" for name, trouble in troubled if trouble)
            return f"{', '.join(waited.values())} to roll out{troubles and f' ({troubles})'}"

        advice = f"`kubectl --namespace {self.namespace} describe deployments,pods` says more."
        waiting.until_none(missing, advice)

    def _refuse_lost(self, pods: Collection[Pod], model: str, lacking: set[str] | None) -> None:
        """Refuse to wait for pods that say that they will not serve their version.

        A server reads its repository once, so what it does not list at two looks never comes.
        `lacking` holds the pods that did not at one; None where they list late.
        """
        for pod in pods:
            if pod.refused:
                raise ClusterError(
                    f"The pod {pod.name} does not serve version {pod.version}, which cannot be "
                    f"verified: `bert-qa versions verify {pod.version} --verify-key` with the key "
                    "of model.verify.publicKey says which file of the repository it is."
                )
            if not (pod.running and pod.version.isdecimal()):
                continue
            states = self._states(pod, model)
            if states is None:
                continue
            state = states.get(int(pod.version))
            if state is not None and state.error is not None:
                raise ClusterError(
                    f"The pod {pod.name} cannot load version {pod.version} ({state.error}): "
                    f"`kubectl --namespace {self.namespace} logs {pod.name} -c {_SERVER}` says why."
                )
            if state is not None or lacking is None:
                continue
            if pod.name in lacking:
                raise ClusterError(
                    f"There is no version {pod.version} of {model} in the repository of the pod "
                    f"{pod.name}: publish it there, or choose one that is there."
                )
            lacking.add(pod.name)

    def _states(self, pod: Pod, model: str) -> dict[int, VersionState] | None:
        """Return the versions that a pod's server knows; None where it does not say so yet."""
        with self._asked(pod, OVMS_REST_PORT) as admin, suppress(BertQAError):
            return admin.models().get(model)
        return None

    def served(self, track: str, model: str) -> int | None:
        """Return the highest version of a model that a ready pod of a track serves.

        Args:
            track: The name of the track.
            model: The name of the model.

        Returns:
            Its number; None where no pod is ready.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        for pod in self.present():
            if pod.ready and pod.track == track:
                states = self._states(pod, model) or {}
                ready = [v for v, each in states.items() if each.state == AVAILABLE]
                if ready:
                    return max(ready)
        return None

    def wait_until_one_is_ready(self, tracks: Collection[str], waiting: Waiting) -> None:
        """Wait until each of these tracks has a ready pod.

        Args:
            tracks: The names of the tracks.
            waiting: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or there is none in time.
        """

        def missing() -> str | None:
            left = set(tracks) - {pod.track for pod in self.present() if pod.ready}
            return f"a ready pod of {', '.join(sorted(left))}" if left else None

        waiting.until_none(missing)

    def wait_until_only(self, tracks: Collection[str], waiting: Waiting) -> None:
        """Wait until the pods of all other tracks have ended; they drain before.

        Args:
            tracks: The names of the tracks that the release has.
            waiting: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or they do not end in time.
        """

        def missing() -> str | None:
            left = [pod.name for pod in self.all() if pod.track not in tracks]
            return f"{', '.join(left)} to end" if left else None

        waiting.until_none(missing)

    def wait_until_followed(self, split: Split, waiting: Waiting) -> None:
        """Wait until each ready pod of the HTTP API follows a split.

        By itself Kubernetes brings the weights to its pods within a minute and a half. A change of
        a pod's annotations has that done at once, where it is allowed: at the first look, and, as
        the kubelet may not have known of the new weights yet, at the second, the fourth and so on.

        Args:
            split: The percents by version.
            waiting: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or one does not follow in time.
        """
        wanted = {version: float(percent) for version, percent in split.items() if percent}
        looks: Counter[str] = Counter()

        def missing() -> str | None:
            late = [each for each in self._of_http_api() if self._followed_by(each) != wanted]
            looks.update(each.name for each in late)
            for pod in late:
                if looks[pod.name].bit_count() == 1:
                    self._hasten(pod, format_split(wanted))
            names = ", ".join(each.name for each in late)
            return f"the HTTP API to follow the split: {names}" if late else None

        waiting.until_none(missing)

    def _hasten(self, pod: Pod, split: str) -> None:
        """Have the kubelet bring a pod its new weights now; without the right to, it takes longer.

        The kubelet writes the files of a ConfigMap anew whenever it looks after a pod, which it
        does at once where the pod is changed, and else each minute. The annotation that is there
        already, as after `helm rollback` and the same switch anew, would be no change.
        """
        noted = f"{split} since {datetime.now(UTC).isoformat()}"
        change = {"metadata": {"annotations": {"bert-qa/split": noted}}}
        with explaining(self.namespace, "pods"), suppress(client.ApiException):
            self._core.patch_namespaced_pod(pod.name, self.namespace, change)

    def _of_http_api(self) -> list[Pod]:
        """Return the pods of the HTTP API that are ready."""
        with explaining(self.namespace, "pods"):
            found: Any = self._core.list_namespaced_pod(
                self.namespace, label_selector=self._http_api_labels
            )
        pods = [_pod(each) for each in found.items]
        return [pod for pod in pods if pod.ready and not pod.ending]

    def _followed_by(self, pod: Pod) -> dict[int, float] | None:
        """Return the split that a pod of the HTTP API follows, None where it cannot be asked."""
        with self._asked(pod, HTTP_API_PORT) as admin:
            try:
                samples = admin.metrics()
            except BertQAError:
                return None
        return {
            int(each.labels["version"]): each.value
            for each in samples
            if each.name == SPLIT_METRIC and each.labels["version"].isdecimal() and each.value
        }

    def _deployments(self) -> dict[str, Any]:
        with explaining(self.namespace, "Deployments"):
            found: Any = self._apps.list_namespaced_deployment(
                self.namespace, label_selector=self._labels
            )
        return {each.metadata.labels["bert-qa/track"]: each for each in found.items}

    @contextmanager
    def _asked(self, pod: Pod, port: int) -> Iterator[AdminClient]:
        """Return a client of what listens on a port of a pod, which takes a short time at most."""
        with (
            self.tunnel(pod, port) as url,
            AdminClient(rest_address(url), timeout=ANSWER_SECONDS) as admin,
        ):
            yield admin

    @contextmanager
    def tunnel(self, pod: Pod, port: int = OVMS_REST_PORT) -> Iterator[str]:
        """Return a URL on loopback that leads to a port of a pod while the block runs.

        When the block has ended, however it did, so have the tunnel's connections and threads.

        Args:
            pod: The pod.
            port: The port; by default that of its OVMS.
        """

        def connect() -> Any:
            with self._opening:
                return portforward(
                    self._streams.connect_get_namespaced_pod_portforward,
                    pod.name,
                    self.namespace,
                    ports=str(port),
                )

        with Tunnel(connect, port) as here:
            yield f"http://127.0.0.1:{here}"


def _pod(found: Any) -> Pod:
    metadata, status = found.metadata, found.status
    server = next((e for e in status.container_statuses or () if e.name == _SERVER), None)
    return Pod(
        metadata.name,
        metadata.labels.get("bert-qa/track", ""),
        (metadata.annotations or {}).get("bert-qa/version", ""),
        any(each.type == "Ready" and each.status == "True" for each in status.conditions or ()),
        server is not None and bool(server.started),
        0 if server is None else server.restart_count or 0,
        metadata.deletion_timestamp is not None,
        server is not None and server.state is not None and server.state.running is not None,
        trouble_of(status),
        any(_is_refused(each) for each in status.init_container_statuses or ()),
    )


def _is_refused(container: Any) -> bool:
    """Return whether a container is the one that verifies, and has failed again."""
    tried_again = bool(container.restart_count) and container.state.running is None
    return container.name == _VERIFIER and tried_again and not container.ready


def _is_rolled_out(deployment: Any) -> bool:
    """Judge as `kubectl rollout status` does."""
    status, wanted = deployment.status, deployment.spec.replicas or 0
    return bool(
        (status.observed_generation or 0) >= deployment.metadata.generation
        and (status.updated_replicas or 0) >= wanted
        and (status.replicas or 0) <= (status.updated_replicas or 0)
        and (status.available_replicas or 0) >= (status.updated_replicas or 0)
    )
