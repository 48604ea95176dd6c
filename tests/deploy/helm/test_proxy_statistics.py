"""templates/_statistics.tpl: what a real Envoy counts, and where that can be read."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bertqa_serve.engine.server import LocalServer
from tests.deploy.helm.proxy import Proxy, running_proxy
from tests.deploy.helm.rules import rules
from tests.deploy.helm.test_dashboard import read as read_on_dashboard
from tests.deploy.helm.test_proxy_config import LIMIT, ask_over_grpc, ask_over_rest
from tests.support.chart import Manifest, render

PAGE = "/stats/prometheus"


def statistics(proxy: Proxy) -> dict[str, float]:
    """What Prometheus reads, by name and labels."""
    page = proxy.get(PAGE, "probe")
    assert page.status_code == 200
    return {
        f"{sample.name} {' '.join(value for _, value in sorted(sample.labels.items()))}": (
            sample.value
        )
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


@dataclass(frozen=True)
class Silent:
    """A server that takes connections and never answers."""

    grpc_port: int
    rest_port: int | None


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    values = {"server": {"requestTimeoutSeconds": 3, "maxConcurrentStreams": 1}}
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        upstream = Silent(one.getsockname()[1], other.getsockname()[1])
        directory = tmp_path_factory.mktemp("silent")
        with running_proxy("pvc", upstream, directory, values) as proxy:
            yield proxy


@pytest.fixture
def narrow(engine: LocalServer, tmp_path: Path) -> Iterator[Proxy]:
    with running_proxy("pvc", engine, tmp_path, LIMIT) as proxy:
        yield proxy


def status(proxy: Proxy) -> grpc.StatusCode:
    """The status of a call over a connection of its own."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"localhost:{proxy.ports['grpc']}", own) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.ModelReady(service_pb2.ModelReadyRequest(name="bert-qa"), timeout=30)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_calls_that_are_refused_or_take_too_long_are_counted(silent: Proxy) -> None:
    url = f"http://localhost:{silent.ports['rest']}/v2"
    with ThreadPoolExecutor(4) as pool:
        over_rest = pool.submit(httpx.get, url, timeout=30)
        found = list(pool.map(status, [silent] * 3))
    assert found == [grpc.StatusCode.UNAVAILABLE] * 3
    assert over_rest.result().status_code == 504
    counted = statistics(silent)
    assert counted["envoy_cluster_upstream_rq_timeout_total ovms_grpc"] == 1
    overflow = [
        counted[f"envoy_cluster_upstream_rq_{kind}_overflow_total ovms_grpc"]
        for kind in ("pending", "active")
    ]
    assert sum(overflow) == 2
    assert counted["envoy_cluster_grpc_total ovms_grpc 14"] == 3
    assert counted["envoy_cluster_upstream_rq_timeout_total ovms_rest"] == 1
    assert counted["envoy_http_downstream_rq_xx_total rest 5"] == 1
    assert counted["envoy_cluster_upstream_rq_total ovms_rest 504"] == 1


def test_requests_are_counted_by_their_outcome_and_time(narrow: Proxy) -> None:
    assert ask_over_grpc(narrow, 1, 32)[0] is grpc.StatusCode.OK
    assert ask_over_grpc(narrow, 5, 512)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ask_over_rest(narrow, 1, 32) == 200
    assert ask_over_rest(narrow, 8, 512) == 413
    counted = statistics(narrow)
    assert counted["envoy_cluster_grpc_total ovms_grpc 0"] == 1
    assert counted["envoy_cluster_grpc_total ovms_grpc 8"] == 1
    assert counted["envoy_http_downstream_rq_xx_total rest 2"] == 1
    assert counted["envoy_http_downstream_rq_xx_total rest 4"] == 1
    assert counted["envoy_http_downstream_rq_xx_total grpc 2"] == 2
    deadline = time.monotonic() + 60  # Envoy merges histograms every five seconds.
    while not counted.get("envoy_cluster_upstream_rq_time_count ovms_grpc"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
        counted = statistics(narrow)
    bounds = {name.split()[2] for name in counted if "upstream_rq_time_bucket ovms_grpc" in name}
    assert {"250", "1000", "10000", "+Inf"} <= bounds
    assert unknown_to(counted) == {"envoy_cluster_upstream_rq"}  # It begins with the first error.


def unknown_to(counted: dict[str, float]) -> set[str]:
    """The metrics of Envoy that rules and the dashboard read and that are not there."""
    shown = {name.split()[0].removesuffix("_total") for name in counted}
    read = {
        metric
        for group in rules()["groups"]
        for rule in group["rules"]
        for metric in re.findall(r"envoy_\w+(?={)", rule["expr"])
    }
    assert len(read) > 5
    return (read | read_on_dashboard("envoy_")) - shown


def test_a_failure_is_seen_from_the_first_one_on(silent: Proxy) -> None:
    """What is counted from zero on has a rate; what appears with its first count has none."""
    counted = statistics(silent)
    kinds = ("pending_overflow", "active_overflow", "pending_failure_eject")
    for kind in (*kinds, "timeout", "rx_reset"):
        for cluster in ("ovms_grpc", "ovms_rest"):
            assert f"envoy_cluster_upstream_rq_{kind}_total {cluster}" in counted


def test_what_no_user_causes_is_left_out(narrow: Proxy) -> None:
    narrow.get("/v2/health/live", "probe")
    counted = statistics(narrow)
    assert len(counted) < 100
    assert not [name for name in counted if re.search("probe|admin|statistics|server_", name)]


@pytest.mark.parametrize("listener", ["grpc", "rest"])
def test_users_do_not_reach_them(narrow: Proxy, listener: str) -> None:
    assert narrow.get(PAGE, listener).status_code in (400, 404)


@pytest.mark.parametrize(
    "path",
    ["/", "/stats", "/config_dump", "/certs", "/clusters", "/quitquitquit", "/logging", "/runtime"],
)
def test_nothing_else_of_the_administration_is_there(silent: Proxy, path: str) -> None:
    assert silent.get(path, "probe").status_code == 404
    assert silent.get(f"/stats/prometheus/..{path}", "probe").status_code == 404
    assert silent.get(path, "admin").status_code == 403
    assert httpx.post(f"http://127.0.0.1:{silent.ports['admin']}{path}").status_code == 403


def test_the_administration_listens_inside_the_pod_alone() -> None:
    config = render().one("ConfigMap", "bert-qa-proxy")["data"]["envoy.yaml"]
    assert config.count("port_value: 9901") == 2
    assert config.count("address: 127.0.0.1, port_value: 9901") == 2


def test_monitoring_is_let_through_to_the_port_on_which_they_are_read() -> None:
    rendering = render("monitoring")
    (port,) = rendering.one("Service", "bert-qa-metrics")["spec"]["ports"]
    policy = rendering.one("NetworkPolicy", "bert-qa-server")["spec"]
    monitored: list[Manifest] = [
        rule
        for rule in policy["ingress"]
        if {"port": port["targetPort"], "protocol": "TCP"} in rule["ports"]
    ]
    ((peer,),) = [rule["from"] for rule in monitored]
    assert peer == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }
