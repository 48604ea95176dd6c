"""templates/proxy-config.yaml: what is rendered, run by a real Envoy before a real server."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bertqa_serve.engine.server import LocalServer
from tests.deploy.helm.certificates import Authority
from tests.deploy.helm.chart import Manifest, render
from tests.deploy.tools import envoy
from tests.support.models import write_config, write_toy_version

LISTENERS = {"grpc": 9000, "rest": 8000, "probe": 8081}
CLUSTERS = {"ovms_grpc": 9001, "ovms_rest": 8001}


def files(scenario: str = "pvc", values: dict[str, Any] | None = None) -> dict[str, str]:
    data: dict[str, str] = render(scenario, values).one("ConfigMap", "bert-qa-proxy")["data"]
    return data


def bootstrap(scenario: str = "pvc", values: dict[str, Any] | None = None) -> Manifest:
    config: Manifest = yaml.safe_load(files(scenario, values)["envoy.yaml"])
    return config


def managers(config: Manifest) -> dict[str, Manifest]:
    """Each listener's HTTP connection manager."""
    return {
        listener["name"]: listener["filter_chains"][0]["filters"][0]["typed_config"]
        for listener in config["static_resources"]["listeners"]
    }


def test_listeners_and_clusters_are_on_the_ports_that_pods_and_services_name() -> None:
    resources = bootstrap()["static_resources"]
    listening = {
        one["name"]: one["address"]["socket_address"]["port_value"]
        for one in resources["listeners"]
    }
    assert listening == LISTENERS
    for cluster in resources["clusters"]:
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address == {"address": "127.0.0.1", "port_value": CLUSTERS[cluster["name"]]}


def test_connections_of_users_grow_no_older_than_was_asked_for() -> None:
    config = managers(bootstrap(values={"proxy": {"maxConnectionSeconds": 7}}))
    ages = {
        name: manager["common_http_protocol_options"].get("max_connection_duration")
        for name, manager in config.items()
    }
    assert ages == {"grpc": "7s", "rest": "7s", "probe": None}


def test_a_request_ends_after_the_longest_time_that_it_may_take() -> None:
    config = managers(bootstrap(values={"server": {"requestTimeoutSeconds": 11}}))
    for manager in config.values():
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
            assert route["route"]["timeout"] == "11s"


def test_one_connection_carries_as_many_requests_as_the_server_takes() -> None:
    config = managers(bootstrap(values={"server": {"maxConcurrentStreams": 33}}))
    assert config["grpc"]["http2_protocol_options"] == {"max_concurrent_streams": 33}


def test_probes_and_metrics_never_speak_tls() -> None:
    listeners = bootstrap("tls")["static_resources"]["listeners"]
    encrypted = {one["name"] for one in listeners if "transport_socket" in one["filter_chains"][0]}
    assert encrypted == {"grpc", "rest"}


@dataclass
class Proxy:
    """A running Envoy, and the ports that stand for 9000, 8000 and 8081."""

    ports: dict[str, int]
    engine: LocalServer
    authority: Authority

    def get(self, path: str, listener: str = "rest", **options: Any) -> httpx.Response:
        scheme = "https" if options else "http"
        with httpx.Client(**options) as client:
            request = client.build_request("GET", f"{scheme}://localhost:{self.ports[listener]}")
            request.url = request.url.copy_with(raw_path=path.encode())
            return client.send(request)

    def ready_over_grpc(self, credentials: grpc.ChannelCredentials | None = None) -> bool:
        address = f"localhost:{self.ports['grpc']}"
        channel = (
            grpc.secure_channel(address, credentials)
            if credentials
            else grpc.insecure_channel(address)
        )
        with channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = service_pb2.ModelReadyRequest(name="bert-qa", version="1")
            return bool(stub.ModelReady(request, timeout=10).ready)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    repository = tmp_path_factory.mktemp("repository")
    write_toy_version(repository, 1)
    with LocalServer(config_path=write_config(repository)) as server:
        yield server


@contextlib.contextmanager
def running_proxy(
    scenario: str,
    engine: LocalServer,
    directory: Path,
    values: dict[str, Any] | None = None,
) -> Iterator[Proxy]:
    """Run Envoy on the rendered files, with only ports and directories put in their places."""
    authority = Authority(directory / "authority")
    mount_secret(directory / "tls" / "server", authority.issue("localhost"))
    mount_secret(directory / "tls" / "clients", {"ca.crt": authority.certificate.read_bytes()})
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    assert engine.rest_port is not None
    upstream = {"ovms_grpc": engine.grpc_port, "ovms_rest": engine.rest_port}
    replaced = {
        **{
            f"port_value: {LISTENERS[name]}}}": f"port_value: {ports[name]}}}" for name in LISTENERS
        },
        **{
            f"port_value: {CLUSTERS[name]}}}": f"port_value: {upstream[name]}}}"
            for name in CLUSTERS
        },
        "address: 0.0.0.0": "address: 127.0.0.1",
        "/etc/envoy/": f"{directory}/",
        "/tls/": f"{directory}/tls/",
    }
    for name, text in files(scenario, values).items():
        for old, new in replaced.items():
            text = text.replace(old, new)
        (directory / name).write_text(text, encoding="utf-8")
    log = (directory / "envoy.log").open("w", encoding="utf-8")
    arguments = ["--config-path", str(directory / "envoy.yaml"), "--concurrency", "1"]
    process = subprocess.Popen(
        [str(envoy()), *arguments, "--disable-hot-restart", "--log-level", "warning"],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for_listener(ports["probe"], process, directory / "envoy.log")
        yield Proxy(ports, engine, authority)
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def mount_secret(directory: Path, content: dict[str, bytes]) -> None:
    """Write files as the kubelet does: in a directory of their own, swapped in by one rename."""
    directory.mkdir(parents=True, exist_ok=True)
    versioned = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    for name, data in content.items():
        (versioned / name).write_bytes(data)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data") / name)
    staged = directory / "..data_tmp"
    staged.symlink_to(versioned.name)
    staged.rename(directory / "..data")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for_listener(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"Envoy does not listen:\n{log.read_text(encoding='utf-8')}")


@pytest.fixture(scope="module")
def plain(engine: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy("pvc", engine, tmp_path_factory.mktemp("plain")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def tls(engine: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy("tls", engine, tmp_path_factory.mktemp("tls")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def mutual(engine: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy("mutual-tls", engine, tmp_path_factory.mktemp("mutual")) as proxy:
        yield proxy


def test_envoy_lets_grpc_through(plain: Proxy) -> None:
    assert plain.ready_over_grpc()


def test_envoy_lets_the_inference_protocol_through(plain: Proxy) -> None:
    answer = plain.get("/v2/models/bert-qa/versions/1")
    assert answer.status_code == 200
    assert answer.json()["name"] == "bert-qa"


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/models/bert-qa/versions/1/ready"])
def test_probes_have_a_port_of_their_own(plain: Proxy, path: str) -> None:
    assert plain.get(path, "probe").status_code == 200


def test_probes_see_a_version_that_is_not_there(plain: Proxy) -> None:
    assert plain.get("/v2/models/bert-qa/versions/2/ready", "probe").status_code == 404


WAYS_TO_THE_CONFIGURATION = [
    "/v1/config",
    "/v1/config/",
    "/v1/config/reload",
    "//v1/config",
    "/v2/../v1/config",
    "/v2/./../v1/config",
    "/v2/%2e%2e/v1/config",
    "/v2%2f..%2fv1/config",
    "/v2\\..\\v1\\config",
    "/v2/models/../../v1/config",
    "/V1/config",
    "/%76%31/config",
    "/v1/config?a=/v2/",
    "/v2x/v1/config",
]


def test_the_configuration_is_reachable_behind_the_proxy(engine: LocalServer) -> None:
    assert httpx.get(f"http://127.0.0.1:{engine.rest_port}/v1/config").status_code == 200


@pytest.mark.parametrize("listener", ["rest", "probe", "grpc"])
@pytest.mark.parametrize("path", WAYS_TO_THE_CONFIGURATION)
def test_the_configuration_is_not_reachable_through_the_proxy(
    plain: Proxy, listener: str, path: str
) -> None:
    answer = plain.get(path, listener)
    assert answer.status_code in (400, 404)
    assert "model_version_status" not in answer.text


@pytest.mark.parametrize("path", ["/metrics", "/v1/models/bert-qa"])
def test_users_reach_the_inference_protocol_alone(plain: Proxy, path: str) -> None:
    assert plain.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/v2/models/bert-qa/infer", "/v2/models/bert-qa", "/v2"])
def test_the_probe_port_answers_no_questions(plain: Proxy, path: str) -> None:
    assert plain.get(path, "probe").status_code == 404


def test_users_speak_tls(tls: Proxy) -> None:
    trust = ssl.create_default_context(cafile=tls.authority.certificate)
    assert tls.get("/v2/models/bert-qa/ready", verify=trust).status_code == 200
    roots = tls.authority.certificate.read_bytes()
    assert tls.ready_over_grpc(grpc.ssl_channel_credentials(roots))


def test_the_certificate_is_that_of_the_secret(tls: Proxy) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        tls.get("/v2/models/bert-qa/ready", verify=ssl.create_default_context())


def test_users_without_tls_are_sent_away(tls: Proxy) -> None:
    with pytest.raises(httpx.HTTPError):
        tls.get("/v2/models/bert-qa/ready")


def test_probes_go_on_in_the_clear(tls: Proxy) -> None:
    assert tls.get("/v2/health/live", "probe").status_code == 200


def test_a_new_certificate_is_used_without_a_restart(engine: LocalServer, tmp_path: Path) -> None:
    def serial() -> str:
        certificate = ssl.get_server_certificate(("localhost", proxy.ports["rest"]))
        return hashlib.sha256(certificate.encode()).hexdigest()

    with running_proxy("tls", engine, tmp_path) as proxy:
        before = serial()
        mount_secret(tmp_path / "tls" / "server", proxy.authority.issue("localhost"))
        deadline = time.monotonic() + 30
        while serial() == before:
            assert time.monotonic() < deadline, "Envoy still shows the old certificate"
            time.sleep(0.05)


def test_connections_grow_old_without_a_failed_request(engine: LocalServer, tmp_path: Path) -> None:
    values = {"proxy": {"maxConnectionSeconds": 1}}
    with running_proxy("pvc", engine, tmp_path, values) as proxy:
        address = f"localhost:{proxy.ports['grpc']}"
        request = service_pb2.ModelReadyRequest(name="bert-qa", version="1")
        url = f"http://localhost:{proxy.ports['rest']}/v2/models/bert-qa/ready"
        with grpc.insecure_channel(address) as channel, httpx.Client() as client:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            end = time.monotonic() + 3
            while time.monotonic() < end:
                assert stub.ModelReady(request, timeout=10).ready
                assert client.get(url).status_code == 200


def test_mutual_tls_takes_a_client_with_a_certificate(mutual: Proxy, tmp_path: Path) -> None:
    pair = mutual.authority.issue("client")
    trust = trusting(mutual, pair, tmp_path)
    assert mutual.get("/v2/models/bert-qa/ready", verify=trust).status_code == 200
    credentials = grpc.ssl_channel_credentials(
        mutual.authority.certificate.read_bytes(), pair["tls.key"], pair["tls.crt"]
    )
    assert mutual.ready_over_grpc(credentials)


def test_mutual_tls_sends_a_client_without_a_certificate_away(mutual: Proxy) -> None:
    trust = ssl.create_default_context(cafile=mutual.authority.certificate)
    with pytest.raises(httpx.HTTPError):
        mutual.get("/v2/models/bert-qa/ready", verify=trust)
    roots = mutual.authority.certificate.read_bytes()
    with pytest.raises(grpc.RpcError):
        mutual.ready_over_grpc(grpc.ssl_channel_credentials(roots))


def test_mutual_tls_sends_a_stranger_away(mutual: Proxy, tmp_path: Path) -> None:
    pair = Authority(tmp_path / "other").issue("client")
    trust = trusting(mutual, pair, tmp_path)
    with pytest.raises(httpx.HTTPError):
        mutual.get("/v2/models/bert-qa/ready", verify=trust)


def trusting(proxy: Proxy, pair: dict[str, bytes], directory: Path) -> ssl.SSLContext:
    """Trust the proxy's authority, and show a certificate of one's own."""
    for name, content in pair.items():
        (directory / name).write_bytes(content)
    trust = ssl.create_default_context(cafile=proxy.authority.certificate)
    trust.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    return trust
