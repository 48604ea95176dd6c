"""What must not bring the engine down, slow others, or make it hold ever more memory."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from bertqa_serve.engine import LocalServer, rest_api
from bertqa_serve.engine.limits import Limits
from tests.support.models import write_config, write_toy_version
from tools.fuzz import INPUTS, fuzz

CONNECTIONS = 500


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for version in (1, 2):
        write_toy_version(root, version, describe=False)
    write_config(root)
    return root


@pytest.fixture
def server(repository: Path) -> Iterator[LocalServer]:
    with LocalServer(repository / "config.json", poll_seconds=0.05) as server:
        yield server


def url(server: LocalServer, path: str) -> str:
    return f"http://127.0.0.1:{server.rest_port}{path}"


def body(shape: tuple[int, ...] = (1, 4)) -> dict[str, object]:
    data = np.ones(shape, dtype=np.int64).tolist()
    tensor = {"datatype": "INT64", "shape": shape, "data": data}
    return {"inputs": [{"name": name, **tensor} for name in INPUTS]}


def answers(server: LocalServer) -> bool:
    response = httpx.post(url(server, "/v2/models/bert-qa/infer"), json=body(), timeout=60)
    return response.status_code == 200


def states(server: LocalServer, model: str = "bert-qa") -> dict[str, str]:
    models = httpx.get(url(server, "/v1/config"), timeout=60).json()
    found = models.get(model, {"model_version_status": []})["model_version_status"]
    return {version["version"]: version["state"] for version in found}


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def connect(server: LocalServer) -> socket.socket:
    assert server.rest_port is not None
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=60)


def test_thousands_of_damaged_requests_are_answered_one_by_one(server: LocalServer) -> None:
    assert server.rest_port is not None
    counted = fuzz("127.0.0.1", server.grpc_port, server.rest_port, requests=2000, seed=1)
    assert counted.total() == 2000
    assert {"gRPC OK", "gRPC INVALID_ARGUMENT", "REST 200", "REST 400"} <= counted.keys()
    assert answers(server)


def test_connections_that_hang_do_not_keep_others_from_being_answered(server: LocalServer) -> None:
    beginnings = (b"", b"POST /v2/models/bert-qa/infer HTTP/1.1\r\n", b"\x16\x03\x01")
    with contextlib.ExitStack() as stack:
        for index in range(60):
            connection = stack.enter_context(connect(server))
            connection.sendall(beginnings[index % len(beginnings)])
        promising = stack.enter_context(connect(server))
        promising.sendall(
            b"POST /v2/models/bert-qa/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{"
        )
        assert answers(server)
    assert answers(server)


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_api, "BODY_SECONDS", 0.2)
    with connect(server) as connection:
        connection.sendall(
            b"POST /v2/models/bert-qa/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.fixture
def many_files() -> Iterator[None]:
    """Both ends of all connections are in this process: the usual 1024 files are too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * CONNECTIONS)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_500_connections_at_once_are_all_answered(server: LocalServer) -> None:
    request = b"GET /v2/models/bert-qa/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(CONNECTIONS)]
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_what_is_too_large_is_refused_before_it_is_read(repository: Path) -> None:
    # OVMS takes a GiB, whatever the channel arguments say.
    assert Limits().message_bytes == 2**30
    arguments = {"grpc.max_receive_message_length": 10}
    limits = Limits(message_bytes=2**20)
    config = repository / "config.json"
    with LocalServer(config, poll_seconds=0, limits=limits, grpc_arguments=arguments) as server:
        refuses_what_is_too_large(server, limits.message_bytes)


def refuses_what_is_too_large(server: LocalServer, limit: int) -> None:
    with connect(server) as connection:
        connection.sendall(
            b"POST /v2/models/bert-qa/infer HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: %d\r\n\r\n" % (limit + 1)
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as raised:
            infer(bytes(limit + 1), timeout=60)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        told = f"Received message larger than max ({limit + 1} vs. {limit})"
        assert told in raised.value.details()
        with pytest.raises(grpc.RpcError) as raised:
            infer(b"\xff" * limit, timeout=60)
        assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert answers(server)


def test_inputs_that_would_broadcast_without_end_are_refused(server: LocalServer) -> None:
    tall, wide = body((20_000, 1)), body((1, 20_000))
    mixed = {"inputs": [tall["inputs"][0], *wide["inputs"][1:]]}  # type: ignore[index]
    response = httpx.post(url(server, "/v2/models/bert-qa/infer"), json=mixed, timeout=60)
    assert (response.status_code, response.json()["error"]) == (500, "Internal inference error")
    assert answers(server)


def test_inputs_that_do_not_fit_leave_the_next_good_request_alone(server: LocalServer) -> None:
    bad = {"inputs": [*body((1, 4))["inputs"][:2], body((1, 3))["inputs"][2]]}  # type: ignore[index]
    for _ in range(3):
        assert answers(server)
        response = httpx.post(url(server, "/v2/models/bert-qa/infer"), json=bad, timeout=60)
        assert response.status_code == 500
        assert answers(server)


def test_a_client_that_goes_away_is_forgotten(server: LocalServer) -> None:
    for _ in range(50):
        with connect(server) as connection:
            connection.sendall(b"POST /v2/models/bert-qa/infer HTTP/1.1\r\nHost: x\r\n")
            connection.sendall(b"Content-Length: 10\r\n\r\n{")
    assert answers(server)


def test_a_repository_that_vanishes_is_served_from_memory(
    server: LocalServer, repository: Path
) -> None:
    away = repository.with_name("away")
    repository.rename(away)
    reload = httpx.post(url(server, "/v1/config/reload"), timeout=60)
    assert reload.status_code == 500
    assert answers(server)
    assert states(server) == {"1": "AVAILABLE", "2": "AVAILABLE"}
    away.rename(repository)
    assert httpx.post(url(server, "/v1/config/reload"), timeout=60).status_code == 200
    write_toy_version(repository, 3, describe=False)
    eventually(lambda: states(server).get("3") == "AVAILABLE")


def test_a_broken_model_beside_it_changes_nothing_for_another(
    server: LocalServer, repository: Path
) -> None:
    (repository / "broken" / "1").mkdir(parents=True)
    (repository / "broken" / "1" / "model.xml").write_text("<net", encoding="utf-8")
    write_config(repository, "bert-qa", "broken")
    eventually(lambda: states(server, "broken") == {"1": "LOADING"})
    assert answers(server)
    ready = httpx.get(url(server, "/v2/models/broken/versions/1/ready"), timeout=60)
    assert ready.status_code == 404


def test_a_change_is_noticed_whatever_the_clock_shows(
    server: LocalServer, repository: Path
) -> None:
    config = repository / "config.json"
    for policy, end, when in (
        ({"specific": {"versions": [1]}}, "2", 0),
        ({"specific": {"versions": [2]}}, "1", 4_000_000_000),
    ):
        staged = write_config(repository, policy=policy).rename(repository / "staged")
        os.utime(staged, (when, when))
        staged.rename(config)
        eventually(lambda end=end: states(server)[end] == "END")  # type: ignore[misc]
        assert answers(server)
