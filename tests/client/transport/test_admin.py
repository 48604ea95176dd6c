"""Operating a server over OVMS's administrative REST endpoints."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bertqa.errors import (
    AccessDeniedError,
    InvalidOptionError,
    ModelNotFoundError,
    ProtocolError,
    ServerUnreachableError,
    VersionNotFoundError,
)
from bertqa.transport import NO_ANSWER, TLS, AdminClient, Security, rest_address, served_versions
from bertqa_serve.engine import LocalServer
from bertqa_serve.engine.metrics import Metrics
from tests.client.transport.test_rest import answering, response
from tests.support.gates import pipe_to, tcp_server
from tests.support.models import write_config, write_toy_version
from tests.support.ports import free_port
from tests.support.rest_gate import rest_gate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    for version in (1, 2):
        write_toy_version(tmp_path, version)
    config = write_config(tmp_path, policy={"specific": {"versions": [1]}})
    with LocalServer(config, poll_seconds=0, metrics=Metrics(enabled=True)) as server:
        yield server


def admin_at(port: int | None, security: Security | None = None) -> AdminClient:
    return AdminClient(rest_address(f"http://127.0.0.1:{port}"), security, timeout=60)


def test_health_states_reload_and_metadata(server: LocalServer, tmp_path: Path) -> None:
    with admin_at(server.rest_port) as admin:
        assert admin.is_ready()
        assert admin.is_model_ready("bert-qa")
        assert admin.is_model_ready("bert-qa", 1)
        assert not admin.is_model_ready("bert-qa", 2)
        assert not admin.is_model_ready("other")
        assert admin.states("bert-qa") == {1: ("AVAILABLE", None)}

        write_config(tmp_path, policy={"specific": {"versions": [2]}})
        assert admin.reload()

        assert admin.models() == {"bert-qa": {1: ("END", None), 2: ("AVAILABLE", None)}}
        metadata = admin.metadata("bert-qa")
        assert metadata.versions == [2]
        assert metadata.input_shapes["input_ids"] == (-1, -1)
        assert "tokenizer_json" in metadata.model_info


def test_a_version_that_does_not_load_has_an_error(server: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "bert-qa" / "3").mkdir()
    (tmp_path / "bert-qa" / "3" / "model.xml").write_text("<net")
    write_config(tmp_path, policy={"specific": {"versions": [1, 3]}})
    with admin_at(server.rest_port) as admin:
        assert admin.reload()
        assert admin.states("bert-qa")[3] == ("LOADING", "UNKNOWN")


def test_what_the_server_does_not_have_is_named(server: LocalServer) -> None:
    with admin_at(server.rest_port) as admin:
        with pytest.raises(ModelNotFoundError, match=r"'other' \(it has: bert-qa\)"):
            admin.states("other")
        with pytest.raises(ModelNotFoundError, match="'other'"):
            admin.metadata("other")
        with pytest.raises(VersionNotFoundError, match="version 9 of the model 'bert-qa'"):
            admin.metadata("bert-qa", 9)


def test_metrics_are_samples_and_streams_are_read_from_them(server: LocalServer) -> None:
    with admin_at(server.rest_port) as admin:
        admin.run("bert-qa", 1, admin.metadata("bert-qa").input_shapes, length=32)
        counted = [
            sample.value
            for sample in admin.metrics()
            if sample.name.startswith("ovms_requests_success")
            and sample.labels.get("method") == "ModelInfer"
            and sample.labels["interface"] == "REST"
        ]
        assert counted == [1]
        assert set(admin.streams("bert-qa")) == {1}
        assert admin.streams("bert-qa")[1] >= 1
        assert admin.streams("other") == {}


def test_a_server_without_metrics_has_no_samples(tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    with (
        LocalServer(write_config(tmp_path), poll_seconds=0) as server,
        admin_at(server.rest_port) as admin,
    ):
        assert admin.metrics() == []
        assert admin.streams("bert-qa") == {}


def test_a_server_that_is_not_there_cannot_be_reached() -> None:
    port = free_port()
    with admin_at(port) as admin:
        for ask in (admin.models, admin.reload, admin.metrics, admin.is_ready):
            with pytest.raises(ServerUnreachableError, match=f"Cannot connect to .*:{port}"):
                ask()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"m": {}}', b'{"m": {"model_version_status": 1}}'])
def test_another_kind_of_server_is_recognised(body: bytes) -> None:
    with (
        tcp_server(answering(response(body))) as port,
        admin_at(port) as admin,
        pytest.raises(ProtocolError, match="does not answer GET /v1/config"),
    ):
        admin.models()


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Busy", "504 Gateway Timeout"])
def test_a_server_that_is_busy_is_not_another_kind_of_server(status: str) -> None:
    busy = response(b"", status)
    with tcp_server(answering(busy)) as port, admin_at(port) as admin:
        for ask in (admin.models, admin.metrics, lambda: admin.metadata("bert-qa")):
            with pytest.raises(NO_ANSWER):
                ask()


def test_a_server_that_dies_in_the_middle_of_an_answer_is_away() -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{")

    with (
        tcp_server(die) as port,
        admin_at(port) as admin,
        pytest.raises(ServerUnreachableError),
    ):
        admin.models()


def test_versions_are_listed_although_one_of_them_goes_meanwhile(
    server: LocalServer, tmp_path: Path
) -> None:
    missing = response(b'{"error": "Model with requested version is retired"}', "404 Not Found")
    states = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK"}}
    only_1 = response(json.dumps({"bert-qa": {"model_version_status": [states]}}).encode())
    write_config(tmp_path)
    with admin_at(server.rest_port) as admin:
        admin.reload()
    with rest_gate(f"http://127.0.0.1:{server.rest_port}") as gate:
        gate.obstacles["/v2/models/bert-qa/versions/2"] = [missing, missing]
        found = [(each.version, each.precision) for each in served_versions(gate.url)]
        assert found == [(1, "fp32"), (2, "fp32")], "it is asked again"

        gate.obstacles["/v2/models/bert-qa/versions/2"] = [missing] * 200
        found = [(each.version, each.precision) for each in served_versions(gate.url)]
        assert found == [(1, "fp32"), (2, "")]

        gate.obstacles["/v2/models/bert-qa/versions/2"] = [missing] * 200
        gate.obstacles["/v1/config"] = [lambda: None, *[only_1] * 200]
        (only,) = served_versions(gate.url)
    assert (only.version, only.is_default) == (1, True)


def test_an_endpoint_that_is_closed_is_reported() -> None:
    closed = response(b'{"error": "no"}', "403 Forbidden")
    with tcp_server(answering(closed)) as port, admin_at(port) as admin:
        assert not admin.reload()
        with pytest.raises(AccessDeniedError):
            admin.models()
        with pytest.raises(AccessDeniedError):
            admin.metadata("bert-qa")


def test_a_token_and_tls_files_are_used_for_each_request(
    server: LocalServer, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    seen = bytearray()
    security = Security.of(TLS(ca=trusted), "secret", {"X-Team": "qa"})
    assert server.rest_port is not None
    with tcp_server(pipe_to(server.rest_port, seen), context) as port:
        served = served_versions(f"https://127.0.0.1:{port}", security=security)
        stranger = AdminClient(rest_address(f"https://127.0.0.1:{port}"))
        with stranger, pytest.raises(ServerUnreachableError):
            stranger.models()
    assert [(each.version, each.is_default) for each in served] == [(1, True)]
    requests = seen.count(b"GET /")
    assert requests == 2
    assert seen.count(b"authorization: Bearer secret") == requests
    assert seen.count(b"x-team: qa") == requests


def test_a_metadata_url_without_a_scheme_is_refused_and_not_taken_as_a_grpc_port() -> None:
    with pytest.raises(InvalidOptionError, match=r"has to begin with http:// or https://"):
        served_versions("localhost:9000", metadata_url="localhost:8000")


def test_proxies_are_followed_but_never_to_loopback(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    through_the_proxy = response(json.dumps({}).encode())
    with tcp_server(answering(through_the_proxy)) as proxy:
        for variable in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)
        for variable in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy}")
        for host in ("127.0.0.1", "localhost"):
            with AdminClient(rest_address(f"http://{host}:{server.rest_port}")) as admin:
                assert "bert-qa" in admin.models()
        elsewhere = rest_address("http://ovms.invalid:8000")
        with AdminClient(elsewhere) as admin:
            assert admin.models() == {}
        with AdminClient(elsewhere, direct=True) as admin, pytest.raises(ServerUnreachableError):
            admin.models()
