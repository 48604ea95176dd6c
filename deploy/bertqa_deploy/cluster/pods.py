"""The pods of a release's tracks, and a way into each that network policies do not block."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from kubernetes.stream import portforward

from bertqa.artifact import SPLIT_METRIC, Split
from bertqa.errors import BertQAError
from bertqa.transport import ANSWER_SECONDS, AdminClient, rest_address
from bertqa_deploy.cluster.access import Access, explaining, labels_of, wait_for

# Where OVMS itself listens in a pod, on loopback: neither the proxy nor TLS is in between.
OVMS_REST_PORT = 8001
HTTP_API_PORT = 8080
_CHUNK = 65_536
# An API server that does not answer must not keep a block from ending.
_CLOSE_SECONDS = 10.0
_SERVER = "ovms"


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
    """

    name: str
    track: str
    version: str
    ready: bool
    started: bool = True
    restarts: int = 0
    ending: bool = False


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

    def wait_until_rolled_out(self, tracks: Collection[str], seconds: float) -> None:
        """Wait until the pods of these tracks run what their Deployments specify.

        Args:
            tracks: The names of the tracks.
            seconds: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or is not done in time.
        """

        def missing() -> str | None:
            found = self._deployments()
            waiting = [
                found[name].metadata.name if name in found else f"the track {name}"
                for name in sorted(tracks)
                if name not in found or not _is_rolled_out(found[name])
            ]
            if not waiting:
                return None
            return (
                f"{', '.join(waiting)} did not roll out in {seconds:g} s: `kubectl --namespace "
                f"{self.namespace} describe pods` says why. A version that is not in the "
                "repository never becomes ready."
            )

        wait_for(missing, seconds)

    def wait_until_one_is_ready(self, tracks: Collection[str], seconds: float) -> None:
        """Wait until each of these tracks has a ready pod.

        Args:
            tracks: The names of the tracks.
            seconds: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or there is none in time.
        """

        def missing() -> str | None:
            waiting = set(tracks) - {pod.track for pod in self.present() if pod.ready}
            if not waiting:
                return None
            return f"No pod of {', '.join(sorted(waiting))} was ready in {seconds:g} s."

        wait_for(missing, seconds)

    def wait_until_only(self, tracks: Collection[str], seconds: float) -> None:
        """Wait until the pods of all other tracks have ended; they drain before.

        Args:
            tracks: The names of the tracks that the release has.
            seconds: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or they do not end in time.
        """

        def missing() -> str | None:
            left = [pod.name for pod in self.all() if pod.track not in tracks]
            if not left:
                return None
            return f"{', '.join(left)} did not end in {seconds:g} s."

        wait_for(missing, seconds)

    def wait_until_followed(self, split: Split, seconds: float) -> None:
        """Wait until each ready pod of the HTTP API follows a split.

        Kubernetes brings the weights to its pods within a minute and a half.

        Args:
            split: The percents by version.
            seconds: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or one does not follow in time.
        """
        wanted = {version: float(percent) for version, percent in split.items() if percent}

        def missing() -> str | None:
            late = [each.name for each in self._of_http_api() if self._followed_by(each) != wanted]
            if not late:
                return None
            return f"The HTTP API did not follow the split in {seconds:g} s: {', '.join(late)}."

        wait_for(missing, seconds)

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
        with (
            self.tunnel(pod, HTTP_API_PORT) as url,
            AdminClient(rest_address(url), timeout=ANSWER_SECONDS) as admin,
        ):
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

        with _Tunnel(connect, port) as here:
            yield f"http://127.0.0.1:{here}"


class _Tunnel:
    """A port of loopback whose connections are carried to a pod, each by threads of its own.

    `connect` opens a connection to a port of the pod and returns it as the Kubernetes client does.
    """

    def __init__(self, connect: Callable[[], Any], port: int) -> None:
        self._connect = connect
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._carrying: list[threading.Thread] = []
        self._open: list[Any] = []
        self._closing = False
        self._lock = threading.Lock()

    def __enter__(self) -> int:
        self._accepting.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *details: object) -> None:
        # Closing a socket does not wake a thread that waits on it; shutting it down does.
        _shut_down(self._listener)
        self._accepting.join()
        self._listener.close()
        with self._lock:
            self._closing = True
            for each in self._open:
                _shut_down(each)
        give_up = time.monotonic() + _CLOSE_SECONDS
        for thread in self._carrying:
            thread.join(max(0.0, give_up - time.monotonic()))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._carry, args=(connection,), daemon=True)
                self._carrying.append(thread)
                thread.start()

    def _carry(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError, client.ApiException):
            self._keep(connection)
            with closing(self._connect().socket(self._port)) as inside:
                inside.setblocking(True)
                self._keep(inside)
                back = threading.Thread(target=_pump, args=(inside, connection), daemon=True)
                back.start()
                _pump(connection, inside)
                _shut_down(inside)
                back.join()

    def _keep(self, opened: Any) -> None:
        """Remember a socket that has to be shut down in the end, which may be now."""
        with self._lock:
            self._open.append(opened)
            if self._closing:
                _shut_down(opened)


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
    )


def _pump(source: Any, target: Any) -> None:
    """Carry bytes until either end closes, and then close the other for writing."""
    with suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _shut_down(each: Any) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


def _is_rolled_out(deployment: Any) -> bool:
    """Judge as `kubectl rollout status` does."""
    status, wanted = deployment.status, deployment.spec.replicas or 0
    return bool(
        (status.observed_generation or 0) >= deployment.metadata.generation
        and (status.updated_replicas or 0) >= wanted
        and (status.replicas or 0) <= (status.updated_replicas or 0)
        and (status.available_replicas or 0) >= (status.updated_replicas or 0)
    )
