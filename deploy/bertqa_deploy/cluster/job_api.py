"""The Job of a switch in the cluster, as the API server has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kubernetes import client
from urllib3.exceptions import HTTPError

from bertqa_deploy.cluster.access import Access, labels_of
from bertqa_deploy.cluster.job_input import JobInput
from bertqa_deploy.cluster.job_log import StreamBrokenError
from bertqa_deploy.errors import ClusterError

ENABLE = "--set switch.enabled=true"

# Statuses of the command that another try does not change, and of a shell that cannot start it.
STATUSES = (1, 2, 3)
_NOT_STARTED = (126, 127)
_RESTARTS = 6
_KEPT_SECONDS = 24 * 3600

_INPUT = "bert-qa/input"
_COMMAND = "bert-qa/command"
_REPORTED = "bert-qa/reported"

_CONNECT_SECONDS = 10.0
# A connection that broke without a word must not be waited on for ever.
_SILENT_SECONDS = 30.0
_NOT_FOUND, _CONFLICT, _BUSY = 404, 409, 429


class AwayError(ClusterError):
    """The cluster cannot be reached for the moment."""


class SwitchJob:
    """A Job as it was read.

    Args:
        found: What the API server returned.

    Attributes:
        name: Its name.
        uid: Its unique id.
        since: When it was made, in UTC.
        is_suspended: Whether it still waits for its input.
        has_failed: Whether a pod of it has.
        condition: The condition with which it finished; None before.
    """

    def __init__(self, found: Any) -> None:
        self.name: str = found.metadata.name
        self.uid: str = found.metadata.uid
        self.since = f"{found.metadata.creation_timestamp:%Y-%m-%d %H:%M}"
        self.is_suspended = bool(found.spec.suspend)
        self.has_failed = bool(found.status.failed)
        self.condition: Any = next(
            (
                each
                for each in found.status.conditions or ()
                if each.type in ("Complete", "Failed") and each.status == "True"
            ),
            None,
        )
        self._notes = found.metadata.annotations or {}

    @property
    def command(self) -> str:
        """The command that it runs, for people."""
        return str(self._notes.get(_COMMAND, "unknown"))

    @property
    def is_reported(self) -> bool:
        """Whether its end has been shown."""
        return _REPORTED in self._notes

    def does(self, wanted: JobInput) -> bool:
        """Return whether it does the same as another would with this input."""
        return self._notes.get(_INPUT) == wanted.sha256


class JobApi:
    """The requests that a switch in the cluster makes.

    Args:
        access: The cluster and the release's namespace.
        release: The name of the Helm release.

    Raises:
        ClusterError: The configuration of the cluster cannot be used.
    """

    def __init__(self, access: Access, release: str) -> None:
        self._api = access.open_client()
        self._core = client.CoreV1Api(self._api)
        self._batch = client.BatchV1Api(self._api)
        self._namespace = access.namespace
        self._release = release

    def template(self) -> dict[str, Any]:
        """Return the PodTemplate that the chart renders for a switch.

        Raises:
            ClusterError: There is none, or the cluster refuses.
        """
        labels = labels_of(self._release, component="switch")
        with self._explaining("list PodTemplates"):
            found: Any = self._core.list_namespaced_pod_template(
                self._namespace, label_selector=labels
            )
        if not found.items:
            raise ClusterError(
                f"The release {self._release} in the namespace {self._namespace} has no service "
                "account and no template of a pod for a switch in the cluster, if there is such a "
                f"release at all: `helm upgrade {self._release} deploy/helm/bert-qa --namespace "
                f"{self._namespace} --reset-then-reuse-values {ENABLE}` makes them."
            )
        as_given: Any = self._api.sanitize_for_serialization
        template: dict[str, Any] = as_given(found.items[0])
        return template

    def find(self, name: str) -> SwitchJob | None:
        """Return a Job; None if there is none.

        Args:
            name: Its name.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        with self._explaining("get Jobs"):
            try:
                return SwitchJob(self._batch.read_namespaced_job(name, self._namespace))
            except client.ApiException as error:
                if error.status == _NOT_FOUND:
                    return None
                raise

    def create(self, template: dict[str, Any], wanted: JobInput) -> None:
        """Make a Job that waits for its input, unless another process did so at the same time.

        Args:
            template: What `template` returned.
            wanted: The input.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        pod = template["template"]
        container = pod["spec"]["containers"][0]
        container["args"] = list(wanted.arguments)
        statuses = {"operator": "In", "values": [*STATUSES, *_NOT_STARTED]}
        rules = [
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": container["name"], **statuses},
            },
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        ]
        job: Any = {
            "metadata": {
                "name": template["metadata"]["name"],
                "labels": pod["metadata"]["labels"],
                "annotations": {_INPUT: wanted.sha256, _COMMAND: wanted.command},
            },
            "spec": {
                "suspend": True,
                "backoffLimit": _RESTARTS,
                "ttlSecondsAfterFinished": _KEPT_SECONDS,
                "podFailurePolicy": {"rules": rules},
                "template": pod,
            },
        }
        with self._explaining("create Jobs"):
            try:
                self._batch.create_namespaced_job(self._namespace, job)
            except client.ApiException as error:
                if error.status != _CONFLICT:
                    raise

    def start(self, job: SwitchJob, wanted: JobInput) -> None:
        """Create the input of a Job, which is deleted with it, and let the Job run.

        Args:
            job: The Job.
            wanted: The input.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid}
        content: Any = {
            "metadata": {"name": job.name, "ownerReferences": [{**owner, "controller": True}]},
            "immutable": True,
            "binaryData": wanted.binary_data(),
        }
        with self._explaining("create ConfigMaps"):
            try:
                self._core.create_namespaced_config_map(self._namespace, content)
            except client.ApiException as error:
                if error.status != _CONFLICT:
                    raise
                self._take_the_place_of_another(job, content)
        with self._explaining("patch Jobs"):
            self._batch.patch_namespaced_job(
                job.name, self._namespace, {"spec": {"suspend": False}}
            )

    def delete(self, job: SwitchJob, *, with_all: bool = False) -> None:
        """Delete a Job; its pods and its input follow.

        Args:
            job: The Job.
            with_all: Whether the Job stays until those are gone.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        options = client.V1DeleteOptions(
            propagation_policy="Foreground" if with_all else "Background",
            preconditions=client.V1Preconditions(uid=job.uid),
        )
        with self._explaining("delete Jobs"):
            try:
                self._batch.delete_namespaced_job(job.name, self._namespace, body=options)
            except client.ApiException as error:
                # It is gone, or is another one by now.
                if error.status not in (_NOT_FOUND, _CONFLICT):
                    raise

    def mark_as_reported(self, job: SwitchJob) -> None:
        """Note on a Job that its end has been shown, where that is allowed.

        Args:
            job: The Job.
        """
        with suppress(ClusterError), self._explaining("patch Jobs"):
            self._batch.patch_namespaced_job(
                job.name, self._namespace, {"metadata": {"annotations": {_REPORTED: "true"}}}
            )

    def newest_pod(self, job: SwitchJob) -> Any:
        """Return the newest pod of a Job; None if it has none.

        Args:
            job: The Job.

        Raises:
            ClusterError: The cluster cannot be reached, or refuses.
        """
        with self._explaining("list pods"):
            found: Any = self._core.list_namespaced_pod(
                self._namespace, label_selector=f"batch.kubernetes.io/controller-uid={job.uid}"
            )
        return max(found.items, key=lambda pod: pod.metadata.creation_timestamp, default=None)

    def refusal_of_pods(self, job: SwitchJob) -> str:
        """Return why the cluster makes no pod for a Job; empty where that is not known.

        Args:
            job: The Job.
        """
        with suppress(ClusterError), self._explaining("list events"):
            found: Any = self._core.list_namespaced_event(
                self._namespace, field_selector=f"involvedObject.uid={job.uid}"
            )
            refused = [each.message for each in found.items if each.reason == "FailedCreate"]
            return str(refused[-1]).rstrip(".") if refused else ""
        return ""

    def log(self, pod: str) -> Iterator[bytes]:
        """Yield what the container of a pod prints, from its beginning to its end.

        Args:
            pod: The pod's name.

        Raises:
            StreamBrokenError: The connection broke, or the log cannot be read for the moment.
            ClusterError: The cluster refuses.
        """
        try:
            with self._explaining("get the logs of pods"):
                response: Any = self._core.read_namespaced_pod_log(
                    pod,
                    self._namespace,
                    follow=True,
                    _preload_content=False,
                    _request_timeout=(_CONNECT_SECONDS, _SILENT_SECONDS),
                )
        except (AwayError, _NotFoundError) as error:
            raise StreamBrokenError from error
        try:
            yield from response.stream()
        except HTTPError as error:
            raise StreamBrokenError from error
        finally:
            response.close()

    def _take_the_place_of_another(self, job: SwitchJob, content: Any) -> None:
        """Replace the input of a Job before this one, which has not been collected yet."""
        try:
            found: Any = self._core.read_namespaced_config_map(job.name, self._namespace)
            if job.uid in {each.uid for each in found.metadata.owner_references or ()}:
                return
            self._core.delete_namespaced_config_map(job.name, self._namespace)
        except client.ApiException as error:
            if error.status != _NOT_FOUND:
                raise
        self._core.create_namespaced_config_map(self._namespace, content)

    @contextmanager
    def _explaining(self, action: str) -> Iterator[None]:
        try:
            yield
        except client.ApiException as error:
            raise self._explained(error, action) from error
        except HTTPError as error:
            raise AwayError(
                "The cluster cannot be reached: is KUBECONFIG right, and is the cluster up?",
                detail=str(error),
            ) from error

    def _explained(self, error: Any, action: str) -> ClusterError:
        status, message = int(error.status or 0), _message(error)
        where = f"in the namespace {self._namespace}"
        if status >= 500 or status == _BUSY:
            return AwayError(f"The cluster does not answer (status {status}).", detail=message)
        if status == _NOT_FOUND or (status == 400 and "log" in action):
            return _NotFoundError(f"The cluster cannot {action} {where}: {message}.")
        if status == 401 or (status == 403 and " cannot " in message):
            return ClusterError(
                f"You may not {action} {where}, as a switch in the cluster needs it: `kubectl auth "
                "can-i` shows what you may. docs/switching.md lists it.",
                detail=message,
            )
        return ClusterError(f"The cluster refuses to {action} {where}: {message}.")


class _NotFoundError(ClusterError):
    """There is nothing of this name, or not yet."""


def _message(error: Any) -> str:
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.body or error.reason
    return str(message).rstrip(".")
