"""What leads clients to a release's pods: its Services, and the routes of a gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kubernetes import client

from bertqa_deploy.cluster.access import Access, explaining, labels_of
from bertqa_deploy.cluster.pods import Pod
from bertqa_deploy.cluster.waiting import Waiting

_TRACK = "bert-qa/track"
_ROUTES = ("httproutes", "grpcroutes")


class Services:
    """The Services and routes of one release, by the labels of the chart.

    Args:
        release: The name of the Helm release.
        access: The cluster and the release's namespace.

    Raises:
        ClusterError: The configuration of the cluster cannot be used.
    """

    def __init__(self, release: str, access: Access) -> None:
        self._namespace = access.namespace
        self._labels = labels_of(release)
        api = access.open_client()
        self._core = client.CoreV1Api(api)
        self._discovery = client.DiscoveryV1Api(api)
        self._custom = client.CustomObjectsApi(api)

    def wait_until_led(
        self, pods: Callable[[], Iterable[Pod]], waiting: Waiting, *, to_ready: bool = True
    ) -> None:
        """Wait until each Service over all tracks leads to pods of the one that it selects alone.

        Args:
            pods: Returns the pods that are not being deleted.
            waiting: How long to wait.
            to_ready: Whether to wait for a pod, too, where none of the track is ready.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or is not done in time.
        """

        def missing() -> str | None:
            for name, track in self._shared().items():
                led_to = self._ready(name)
                found = [pod for pod in pods() if pod.track == track]
                if not led_to and not to_ready and not any(pod.ready for pod in found):
                    continue
                if not led_to or not led_to <= {pod.name for pod in found}:
                    led = ", ".join(sorted(led_to)) or "no pod"
                    return f"the Service {name} to lead to the track {track} alone, not to {led}"
            return None

        waiting.until_none(missing)

    def wait_until_routed(self, waiting: Waiting) -> None:
        """Wait until the gateways have taken over the routes, as far as they report it.

        Args:
            waiting: How long to wait.

        Raises:
            ClusterError: The cluster cannot be reached, refuses, or is not done in time.
        """

        def missing() -> str | None:
            late = [name for kind in _ROUTES for name in self._behind(kind)]
            if not late:
                return None
            return f"the gateway to take over {', '.join(late)}"

        waiting.until_none(missing)

    def _shared(self) -> dict[str, str]:
        """Return which track each Service selects that is not one track's own."""
        with explaining(self._namespace, "Services"):
            found: Any = self._core.list_namespaced_service(
                self._namespace, label_selector=self._labels
            )
        return {
            each.metadata.name: each.spec.selector[_TRACK]
            for each in found.items
            if _TRACK in (each.spec.selector or {}) and _TRACK not in each.metadata.labels
        }

    def _ready(self, service: str) -> set[str]:
        """Return the names of the pods to which a Service leads."""
        with explaining(self._namespace, "EndpointSlices"):
            found: Any = self._discovery.list_namespaced_endpoint_slice(
                self._namespace, label_selector=f"kubernetes.io/service-name={service}"
            )
        return {
            endpoint.target_ref.name
            for each in found.items
            for endpoint in each.endpoints or ()
            if endpoint.target_ref is not None
            and (endpoint.conditions is None or endpoint.conditions.ready is not False)
        }

    def _behind(self, kind: str) -> list[str]:
        """Return the routes of a kind whose gateways have seen an older generation last."""
        with explaining(self._namespace, kind):
            found: Any = self._custom.list_namespaced_custom_object(
                "gateway.networking.k8s.io",
                "v1",
                self._namespace,
                kind,
                label_selector=self._labels,
            )
        return [
            f"{kind}/{each['metadata']['name']}"
            for each in found["items"]
            if any(
                condition.get("observedGeneration", 0) < each["metadata"]["generation"]
                for parent in each.get("status", {}).get("parents", ())
                for condition in parent.get("conditions", ())
            )
        ]
