"""templates/proxy-config.yaml: what is rendered, run by a real Envoy before a real server."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import yaml
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bertqa.artifact import INPUTS
from bertqa_serve.engine.server import LocalServer
from tests.deploy.helm.proxy import (
    CLUSTERS,
    LISTENERS,
    Authority,
    Proxy,
    files,
    mount_secret,
    running_proxy,
)
from tests.support.chart import Manifest, container, render, server_pod
from tools.programs import ENVOY


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


def test_connections_of_users_grow_no_older_than_the_values_allow() -> None:
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


@pytest.mark.parametrize("scenario", ["tls", "mutual-tls"])
def test_users_speak_tls_1_2_at_least(scenario: str) -> None:
    listeners = {one["name"]: one for one in bootstrap(scenario)["static_resources"]["listeners"]}
    for name in ("grpc", "rest"):
        socket = listeners[name]["filter_chains"][0]["transport_socket"]["typed_config"]
        context = socket["common_tls_context"]
        assert context["tls_params"] == {"tls_minimum_protocol_version": "TLSv1_2"}
        assert context["alpn_protocols"] == ["h2", "http/1.1"]
        assert socket.get("require_client_certificate", False) is (scenario == "mutual-tls")


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


def test_the_envoy_of_these_tests_is_the_one_of_the_chart() -> None:
    image = container(server_pod(render()), "proxy")["image"]
    assert image.rpartition("-v")[2] == ENVOY.rpartition("==")[2]


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


LIMIT = {"server": {"maxRequestTokens": 4 * 512}}
ANSWERED = (grpc.StatusCode.OK, "")


def too_large(limit: int) -> tuple[grpc.StatusCode, str]:
    said = f"Received message larger than max ({limit * 24 + 4096} bytes)"
    return grpc.StatusCode.RESOURCE_EXHAUSTED, said


@pytest.fixture(scope="module")
def narrow(engine: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy("pvc", engine, tmp_path_factory.mktemp("narrow"), LIMIT) as proxy:
        yield proxy


def ask_over_grpc(proxy: Proxy, batch: int, tokens: int) -> tuple[grpc.StatusCode, str]:
    address = f"localhost:{proxy.ports['grpc']}"
    tensors = [
        service_pb2.ModelInferRequest.InferInputTensor(
            name=name, datatype="INT64", shape=[batch, tokens]
        )
        for name in INPUTS
    ]
    request = service_pb2.ModelInferRequest(
        model_name="bert-qa",
        inputs=tensors,
        raw_input_contents=[np.ones((batch, tokens), np.int64).tobytes()] * len(tensors),
    )
    with grpc.insecure_channel(address) as channel:
        try:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
        except grpc.RpcError as error:
            return error.code(), error.details()
    return ANSWERED


def ask_over_rest(proxy: Proxy, batch: int, tokens: int) -> int:
    data = [[2048] * tokens] * batch
    inputs = [
        {"name": name, "datatype": "INT64", "shape": [batch, tokens], "data": data}
        for name in INPUTS
    ]
    url = f"http://localhost:{proxy.ports['rest']}/v2/models/bert-qa/infer"
    return httpx.post(url, json={"inputs": inputs}, timeout=60).status_code


def test_a_request_of_the_largest_size_is_answered(narrow: Proxy, plain: Proxy) -> None:
    assert ask_over_grpc(narrow, 4, 512) == ANSWERED
    assert ask_over_rest(narrow, 4, 512) == 200
    assert ask_over_grpc(plain, 64, 512) == ANSWERED
    assert ask_over_rest(plain, 64, 512) == 200


def test_a_larger_request_never_reaches_the_server(narrow: Proxy, plain: Proxy) -> None:
    assert ask_over_grpc(narrow, 5, 512) == too_large(4 * 512)
    assert ask_over_rest(narrow, 8, 512) == 413
    assert ask_over_grpc(plain, 1000, 128) == too_large(64 * 512)
    assert ask_over_rest(plain, 1000, 128) == 413


def test_a_limit_above_the_buffer_of_a_connection_holds_too(
    engine: LocalServer, tmp_path: Path
) -> None:
    values = {"server": {"maxRequestTokens": 200 * 512}}
    with running_proxy("pvc", engine, tmp_path, values) as proxy:
        assert ask_over_grpc(proxy, 200, 512) == ANSWERED
        assert ask_over_grpc(proxy, 201, 512) == too_large(200 * 512)


def test_users_have_two_rest_connections_for_each_stream_and_probes_a_new_one_each() -> None:
    clusters = {
        one["name"]: one
        for one in bootstrap(values={"server": {"streams": 4}})["static_resources"]["clusters"]
    }
    (threshold,) = clusters["ovms_rest"]["circuit_breakers"]["thresholds"]
    assert threshold == {"max_connections": 8}
    (options,) = clusters["ovms_probe"]["typed_extension_protocol_options"].values()
    assert options["common_http_protocol_options"] == {"max_requests_per_connection": 1}


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


def test_probes_stay_in_the_clear(tls: Proxy) -> None:
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


@pytest.mark.thorough
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
