"""The one cluster and namespace on which both Helm and the Kubernetes client act.

Each of them has rules of its own for finding a cluster: Helm reads variables that the client does
not know, and of several files of KUBECONFIG they take the current context from different ones. So
it is decided here, once, and both are given the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from kubernetes import client, config
from urllib3.exceptions import HTTPError

from bertqa._reason import read_finite, reason_of
from bertqa.transport import leads_to_loopback
from bertqa_deploy.errors import ClusterError

_DEFAULT_NAMESPACE = "default"
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
# Helm alone reads these, and the client has nothing of the kind.
_OF_HELM_ALONE = ("HELM_KUBEASUSER", "HELM_KUBEASGROUPS")


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster and a namespace.

    Attributes:
        namespace: The namespace.
        context: The context of the kubeconfig; None where there is none, as in a pod.
        kubeconfig: The kubeconfig's files, as the variable KUBECONFIG names them.
        server: The address of the API server where there is no context; None in a pod.
    """

    namespace: str
    context: str | None
    kubeconfig: str
    server: str | None = None

    def helm_flags(self) -> tuple[str, ...]:
        """Return the flags that bring Helm here."""
        context = () if self.context is None else ("--kube-context", self.context)
        return ("--namespace", self.namespace, *context)

    def helm_environment(self) -> dict[str, str]:
        """Return the variables that Helm runs with."""
        return {**os.environ, "KUBECONFIG": self.kubeconfig}

    def open_client(self) -> client.ApiClient:
        """Return a client of the cluster's API.

        Raises:
            ClusterError: The configuration cannot be used.
        """
        found: Any = client.Configuration()
        load: Any
        try:
            if self.context is not None:
                load = config.load_kube_config
                load(self.kubeconfig, context=self.context, client_configuration=found)
            elif self.server is None:
                load = config.load_incluster_config
                load(client_configuration=found)
            else:
                found.host = self.server
        except (config.ConfigException, OSError, yaml.YAMLError) as error:
            raise ClusterError(
                "There is no configuration of a cluster that can be used: set KUBECONFIG, or run "
                "this in a pod with a service account.",
                detail=reason_of(error),
            ) from error
        _set_as_helm_does(found)
        try:
            _spare_loopback(found)
            return client.ApiClient(found)
        except (HTTPError, ImportError, ValueError) as error:
            raise ClusterError(
                f"The proxy of the environment for {found.host} (https_proxy, all_proxy) cannot be "
                "used: correct the variable, unset it, or list the host in NO_PROXY.",
                detail=reason_of(error),
            ) from error


def find_access(namespace: str | None = None) -> Access:
    """Find the cluster and the namespace, as Helm does.

    KUBECONFIG, or else the file in the home directory, says where the clusters are, and
    HELM_KUBECONTEXT which context counts, by default the current one. Without any, it is the
    cluster of this pod.

    Args:
        namespace: The namespace; by default HELM_NAMESPACE, or the context's own.

    Returns:
        Both.

    Raises:
        ClusterError: The configuration cannot be read, or contradicts itself.
    """
    for name in _OF_HELM_ALONE:
        if os.environ.get(name):
            raise ClusterError(
                f"{name} counts for Helm alone, and the cluster is also asked without Helm: unset "
                "it, and choose a context of the kubeconfig that may do this."
            )
    files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    clusters, contexts, current = _read(files.split(os.pathsep))
    chosen = os.environ.get("HELM_KUBECONTEXT") or current
    server = os.environ.get("HELM_KUBEAPISERVER") or None
    namespace = namespace or os.environ.get("HELM_NAMESPACE")
    if not chosen:
        if server is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise ClusterError(
                f"No context is chosen in {files} (contexts: {_names(contexts)}): run `kubectl "
                "config use-context`, set KUBECONFIG, or run this in a pod."
            )
        return Access(namespace or _pod_namespace(), None, files, server)
    if chosen not in contexts:
        who = "HELM_KUBECONTEXT" if os.environ.get("HELM_KUBECONTEXT") else "current-context"
        raise ClusterError(f"{who} names the context {chosen}, but {files} has {_names(contexts)}.")
    context = contexts[chosen]
    leads_to = str(clusters.get(str(context.get("cluster")), {}).get("server", ""))
    if server is not None and server.rstrip("/") != leads_to.rstrip("/"):
        raise ClusterError(
            f"HELM_KUBEAPISERVER names the cluster {server}, but the context {chosen} leads to "
            f"{leads_to or 'none'}: unset one of them."
        )
    return Access(namespace or context.get("namespace") or _DEFAULT_NAMESPACE, chosen, files)


@contextmanager
def explaining(namespace: str, kind: str) -> Iterator[None]:
    """Raise what goes wrong while the cluster is asked as an error of this room.

    Args:
        namespace: The namespace.
        kind: What is read, in the plural.

    Raises:
        ClusterError: The cluster cannot be reached, or refuses.
    """
    try:
        yield
    except client.ApiException as error:
        problem = (
            f"You may not look at {kind} in the namespace {namespace}: "
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


def labels_of(release: str, component: str | None = None) -> str:
    """Return the selector of a release's objects, by the labels of the chart.

    Args:
        release: The name of the Helm release.
        component: The part of it, such as "server"; None for all.
    """
    labels = f"app.kubernetes.io/name=bert-qa,app.kubernetes.io/instance={release}"
    return labels if component is None else f"{labels},app.kubernetes.io/component={component}"


def _read(
    files: Iterable[str],
) -> tuple[dict[str, Mapping[str, Any]], dict[str, Mapping[str, Any]], str | None]:
    """Return clusters, contexts and the current context; the first file that names one counts."""
    clusters: dict[str, Mapping[str, Any]] = {}
    contexts: dict[str, Mapping[str, Any]] = {}
    current = None
    for file in filter(None, files):
        try:
            content = yaml.safe_load(read_finite(Path(file).expanduser())) or {}
            for each in content.get("clusters") or ():
                clusters.setdefault(each["name"], each.get("cluster") or {})
            for each in content.get("contexts") or ():
                contexts.setdefault(each["name"], each.get("context") or {})
            current = current or content.get("current-context")
        except FileNotFoundError:
            continue
        except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            raise ClusterError(
                f"{file} is not a valid kubeconfig: {reason_of(error)}.", detail=str(error)
            ) from error
    return clusters, contexts, current


def _set_as_helm_does(configuration: Any) -> None:
    """Let the variables that Helm prefers to the kubeconfig count for the client as well."""
    token = os.environ.get("HELM_KUBETOKEN")
    if token:
        # The client's versions name it differently.
        configuration.api_key |= dict.fromkeys(("BearerToken", "authorization"), f"Bearer {token}")
        configuration.refresh_api_key_hook = None
    if os.environ.get("HELM_KUBECAFILE"):
        configuration.ssl_ca_cert = os.environ["HELM_KUBECAFILE"]
    if os.environ.get("HELM_KUBETLS_SERVER_NAME"):
        configuration.tls_server_name = os.environ["HELM_KUBETLS_SERVER_NAME"]
    if os.environ.get("HELM_KUBEINSECURE_SKIP_TLS_VERIFY", "").lower() in ("1", "t", "true"):
        configuration.verify_ssl = False


def _spare_loopback(configuration: Any) -> None:
    """Keep the proxies of the environment from standing before this machine, as for Helm."""
    host = urlsplit(configuration.host).hostname or ""
    of_environment = client.Configuration(host=configuration.host).proxy
    if leads_to_loopback(host) and configuration.proxy == of_environment:
        # It counts for requests, and for tunnels, which read the environment by themselves.
        configuration.no_proxy = ",".join(filter(None, (configuration.no_proxy, host)))


def _pod_namespace() -> str:
    if "POD_NAMESPACE" in os.environ:
        return os.environ["POD_NAMESPACE"]
    try:
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip() or _DEFAULT_NAMESPACE
    except OSError:
        return _DEFAULT_NAMESPACE


def _names(contexts: Mapping[str, Any]) -> str:
    return ", ".join(sorted(contexts)) or "none"
