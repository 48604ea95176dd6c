"""Which cluster, context and namespace both Helm and the Kubernetes client act on."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from bertqa_deploy.cluster.access import Access, find_access
from bertqa_deploy.cluster.helm import Helm
from bertqa_deploy.cluster.release import HelmCluster
from bertqa_deploy.errors import ClusterError
from tests.deploy.cluster.api_server import ApiServer
from tests.deploy.cluster.conftest import NAMESPACE, Install
from tests.deploy.cluster.test_target import TO_2, rollout
from tests.support.ports import free_port

VARIABLES = ("KUBERNETES_SERVICE_HOST", "POD_NAMESPACE")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*VARIABLES, *(name for name in os.environ if name.startswith("HELM_"))]:
        monkeypatch.delenv(name, raising=False)


def kubeconfig(path: Path, current: str | None, **contexts: tuple[str, str | None]) -> Path:
    """Write a kubeconfig; a context is the address of its cluster and its namespace."""
    content: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
    content["clusters"] = [
        {"name": name, "cluster": {"server": server}} for name, (server, _) in contexts.items()
    ]
    content["users"] = [{"name": "someone", "user": {"token": "secret"}}]
    content["contexts"] = [
        {
            "name": name,
            "context": {
                "cluster": name,
                "user": "someone",
                **({"namespace": namespace} if namespace else {}),
            },
        }
        for name, (_, namespace) in contexts.items()
    ]
    if current:
        content["current-context"] = current
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig with two contexts, of which dev is the current one."""
    path = kubeconfig(
        tmp_path / "two", "dev", dev=("http://dev", None), prod=("http://prod", "serving")
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def host(access: Access) -> str:
    return str(access.open_client().configuration.host)


@pytest.mark.parametrize("proxy", ["::::", "http://[bad", "socks5://127.0.0.1:1", "ftp://proxy"])
def test_a_proxy_of_the_environment_that_cannot_be_used_is_named_but_not_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    here = ("https://127.0.0.1:6443", None)
    path = kubeconfig(tmp_path / "k", "kind", kind=here, far=("https://far", None))
    monkeypatch.setenv("KUBECONFIG", str(path))
    configuration = find_access().open_client().configuration
    # By it requests and the connections of tunnels know that there is none.
    assert "127.0.0.1" in configuration.no_proxy.split(",")
    monkeypatch.setenv("HELM_KUBECONTEXT", "far")
    with pytest.raises(ClusterError, match="proxy of the environment for https://far"):
        find_access().open_client()


def test_the_current_context_counts_and_its_namespace(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_access() == Access("default", "dev", str(two))
    assert host(find_access()) == "http://dev"

    monkeypatch.setenv("HELM_KUBECONTEXT", "prod")
    assert find_access() == Access("serving", "prod", str(two))
    assert host(find_access()) == "http://prod"
    assert find_access().helm_flags() == ("--namespace", "serving", "--kube-context", "prod")

    monkeypatch.setenv("HELM_NAMESPACE", "other")
    assert find_access().namespace == "other"
    assert find_access("given").namespace == "given"


def test_of_several_files_the_first_one_names_the_current_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        tmp_path / "missing",
        kubeconfig(tmp_path / "none", None),
        kubeconfig(tmp_path / "first", "a", a=("http://a", "of-a")),
        kubeconfig(tmp_path / "second", "b", b=("http://b", None), a=("http://other", None)),
    ]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    assert find_access().context == "a"
    assert find_access().namespace == "of-a"
    assert host(find_access()) == "http://a"


def test_helm_and_the_client_act_on_the_cluster_of_the_variable(
    install: Install, api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install()
    server = json.loads((tmp_path / "kubeconfig").read_text(encoding="utf-8"))
    prod = server["clusters"][0]["cluster"]["server"]
    away = f"http://127.0.0.1:{free_port()}"
    both = kubeconfig(tmp_path / "both", "dev", dev=(away, None), prod=(prod, NAMESPACE))
    monkeypatch.setenv("KUBECONFIG", str(both))
    monkeypatch.setenv("HELM_KUBECONTEXT", "prod")
    found = Helm(release.release, find_access(), release.chart, program=release.program)
    # Whoever chooses another one meanwhile does not move the rollout elsewhere.
    monkeypatch.setenv("HELM_KUBECONTEXT", "dev")

    assert rollout(found).move(TO_2).split == TO_2
    assert api.tracks_with_pods() == {"v2"}


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (
            {"HELM_KUBECONTEXT": "test"},
            r"HELM_KUBECONTEXT names the context test, but .*two has dev, prod",
        ),
        (
            {"HELM_KUBEAPISERVER": "http://prod"},
            "HELM_KUBEAPISERVER names the cluster http://prod, but the context dev leads to http:",
        ),
        ({"HELM_KUBEASUSER": "root"}, "HELM_KUBEASUSER counts for Helm alone"),
    ],
)
def test_what_contradicts_itself_is_refused(
    two: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], complaint: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match=complaint):
        find_access()


def test_an_address_and_a_token_without_a_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.setenv("HELM_KUBEAPISERVER", "http://there")
    monkeypatch.setenv("HELM_KUBETOKEN", "secret")
    access = find_access()
    assert (access.context, access.namespace, host(access)) == (None, "default", "http://there")
    value = access.open_client().configuration.auth_settings()["BearerToken"]["value"]
    assert value == "Bearer secret"


def test_without_a_configuration_it_is_the_cluster_of_the_pod(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig(two, None, dev=("http://dev", None))
    with pytest.raises(ClusterError, match=r"No context is chosen in .*two \(contexts: dev\)"):
        find_access()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ClusterError, match=r"No context is chosen in .* \(contexts: none\)"):
        find_access()

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("POD_NAMESPACE", "serving")
    assert find_access() == Access("serving", None, str(tmp_path / "missing"))
    # There is no service account here.
    with pytest.raises(ClusterError, match="no configuration of a cluster that can be used"):
        find_access().open_client()


@pytest.mark.parametrize("text", ["[", "contexts: 3", "- a"])
def test_a_file_that_is_not_a_kubeconfig_is_named(two: Path, text: str) -> None:
    two.write_text(text, encoding="utf-8")
    with pytest.raises(ClusterError, match="two is not a valid kubeconfig"):
        find_access()


def test_a_release_that_is_not_there_is_named_and_where_it_is(
    install: Install, api: ApiServer
) -> None:
    release = install()
    lost = Helm("other", release.access, release.chart, program=release.program)
    with pytest.raises(ClusterError, match="no release other in the namespace ml: `helm list -A`"):
        HelmCluster(lost)
    elsewhere = Helm(
        release.release, find_access("default"), release.chart, program=release.program
    )
    with pytest.raises(
        ClusterError, match="no release bert-qa in the namespace default: it is in ml"
    ):
        HelmCluster(elsewhere)


def test_a_cluster_that_is_away_is_named(
    install: Install, api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install()
    away = kubeconfig(tmp_path / "away", "it", it=(f"http://127.0.0.1:{free_port()}", None))
    monkeypatch.setenv("KUBECONFIG", str(away))
    there = Helm(release.release, find_access(), release.chart, program=release.program)
    with pytest.raises(ClusterError, match="cluster cannot be reached"):
        HelmCluster(there)


def ask_and_fail(url: str, connection: socket.socket) -> None:
    """Use a connection of a tunnel, leave it open, and raise ZeroDivisionError."""
    connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
    connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: pod\r\n\r\n")
    assert connection.recv(64).startswith(b"HTTP/1.1 200")
    raise ZeroDivisionError


def test_a_tunnel_has_no_threads_left_whether_its_block_ends_or_fails(
    install: Install, api: ApiServer
) -> None:
    cluster = HelmCluster(install())
    (pod,) = cluster.pods()
    before = set(threading.enumerate())

    with cluster.connect(pod) as url:
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    with socket.socket() as kept:
        with pytest.raises(ZeroDivisionError), cluster.connect(pod) as url:
            ask_and_fail(url, kept)
        left = set(threading.enumerate()) - before

    with socket.socket() as late:
        assert late.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0
    # The Kubernetes client ends its own threads once it has left the API server.
    assert all(each.name.startswith("Kubernetes port forward") for each in left)
    for thread in left:
        thread.join(30)
        assert not thread.is_alive()
