"""The pods of a release's tracks, and a way into each that network policies do not block."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from kubernetes.stream import portforward
from urllib3.exceptions import HTTPError

from bertqa_deploy.errors import ClusterError

# Where OVMS itself listens in a pod, on loopback: neither the proxy nor TLS is in between.
OVMS_REST_PORT = 8001
_CHUNK = 65_536
# An API server that does not answer must not keep a block from ending.
_CLOSE_SECONDS = 10.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a track, and the version that its annotation names."""

    name: str
    track: str
    version: str
    ready: bool


class Pods:
    """The pods of one release, by the labels of the chart.

    The cluster is found as `kubectl` finds it, or as a pod of the cluster does.

    Args:
        release: The name of the Helm release.
        namespace: The release's namespace.

    Raises:
        ClusterError: The configuration of the cluster cannot be read.
    """

    def __init__(self, release: str, namespace: str) -> None:
        self.namespace = namespace
        self._labels = (
            f"app.kubernetes.io/name=bert-qa,app.kubernetes.io/instance={release},"
            "app.kubernetes.io/component=server"
        )
        try:
            _load_config()
        except config.ConfigException as error:
            raise ClusterError(
                "There is no configuration of a cluster: set KUBECONFIG, or run this in a pod.",
                detail=str(error),
            ) from error
        self._core = client.CoreV1Api()
        self._apps = client.AppsV1Api()
        # Opening a stream borrows the client that it is given.
        self._streams = client.CoreV1Api(client.ApiClient())
        self._opening = threading.Lock()

    def list(self) -> list[Pod]:
        """Return the pods that are not being deleted.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        with _explaining(self.namespace):
            found: Any = self._core.list_namespaced_pod(self.namespace, label_selector=self._labels)
        return [
            Pod(
                pod.metadata.name,
                pod.metadata.labels.get("bert-qa/track", ""),
                (pod.metadata.annotations or {}).get("bert-qa/version", ""),
                any(
                    each.type == "Ready" and each.status == "True"
                    for each in pod.status.conditions or ()
                ),
            )
            for pod in found.items
            if pod.metadata.deletion_timestamp is None
        ]

    def wait_until_rolled_out(self, tracks: Collection[str], seconds: float) -> None:
        """Wait until the pods of these tracks run what their Deployments specify.

        Args:
            tracks: The names of the tracks.
            seconds: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or is not done in time.
        """
        give_up = time.monotonic() + seconds
        while True:
            with _explaining(self.namespace):
                found: Any = self._apps.list_namespaced_deployment(
                    self.namespace, label_selector=self._labels
                )
            waiting = [
                each
                for each in found.items
                if each.metadata.labels["bert-qa/track"] in tracks and not _is_rolled_out(each)
            ]
            if not waiting:
                return
            if time.monotonic() > give_up:
                names = ", ".join(each.metadata.name for each in waiting)
                raise ClusterError(
                    f"{names} did not roll out in {seconds:g} s: `kubectl --namespace "
                    f"{self.namespace} describe pods` says why. A version that is not in the "
                    "repository never becomes ready."
                )
            time.sleep(_LOOK_SECONDS)

    @contextmanager
    def tunnel(self, pod: Pod) -> Iterator[str]:
        """Return a URL on loopback that leads to the pod's own OVMS while the block runs.

        When the block has ended, however it did, so have the tunnel's connections and threads.
        """

        def connect() -> Any:
            with self._opening:
                return portforward(
                    self._streams.connect_get_namespaced_pod_portforward,
                    pod.name,
                    self.namespace,
                    ports=str(OVMS_REST_PORT),
                )

        with _Tunnel(connect) as port:
            yield f"http://127.0.0.1:{port}"


class _Tunnel:
    """A port of loopback whose connections are carried to a pod, each by threads of its own.

    `connect` opens a connection to the pod and returns it as the Kubernetes client does.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
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
            with closing(self._connect().socket(OVMS_REST_PORT)) as inside:
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


def _load_config() -> None:
    """Find the cluster: KUBECONFIG as it is now, else the usual file, else the pod's own."""
    load: Any = config.load_config
    path = os.environ.get("KUBECONFIG")
    load(**({"config_file": path} if path else {}))


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


@contextmanager
def _explaining(namespace: str) -> Iterator[None]:
    try:
        yield
    except client.ApiException as error:
        problem = (
            f"You may not look at pods and Deployments in the namespace {namespace}: "
            "check your role with `kubectl auth can-i`."
            if error.status in (401, 403)
            else f"The cluster refused the request with status {error.status}."
        )
        raise ClusterError(problem, detail=str(error.body or error.reason)) from error
    except HTTPError as error:
        raise ClusterError(
            "The cluster cannot be reached: is KUBECONFIG right, and is the cluster up?",
            detail=str(error),
        ) from error
