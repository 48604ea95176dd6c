"""The options of `bert-qa serve` on a real OVMS: that it knows them, and what they change."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bertqa.artifact import synthetic_inputs
from bertqa_serve.command import Listening, command_line, unknown_to
from bertqa_serve.errors import EngineNotFoundError
from bertqa_serve.launcher import Running, running
from bertqa_serve.options import ServeOptions
from bertqa_serve.selection import choose_engine
from tests.support.models import write_toy_version
from tests.support.ports import free_port

pytestmark = pytest.mark.ovms

CALLS = 300
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _GOAWAY, _ACKNOWLEDGED = 4, 6, 7, 1


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        choose_engine("ovms")
    except EngineNotFoundError as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("repository")
    write_toy_version(root, 1)
    return root


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Running]:
    options = ServeOptions(
        repository, engine="ovms", port=free_port(), rest_port=free_port(), warm_up=False
    )
    with running(options, log=lambda _: None) as started:
        yield started


def test_the_help_of_a_real_server_names_every_option(repository: Path) -> None:
    engine = choose_engine("ovms")
    settings = ServeOptions(repository).settings()
    listening = Listening(repository / "config.json", 9000, 8000, settings)
    assert unknown_to(engine, listening) == []
    assert "--rest_workers" in command_line(engine, listening)


def test_many_more_calls_at_once_than_cores_are_answered(server: Running) -> None:
    inputs = synthetic_inputs(4, 512)
    request = service_pb2.ModelInferRequest(
        model_name="bert-qa",
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(
                name=name, datatype="INT64", shape=value.shape
            )
            for name, value in inputs.items()
        ],
        raw_input_contents=[value.tobytes() for value in inputs.values()],
    )
    with grpc.insecure_channel(server.grpc_url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(request, timeout=300) for _ in range(CALLS)]
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}


def test_probes_are_answered_while_a_reload_is_waited_for(server: Running) -> None:
    stop = threading.Event()

    def reload() -> None:
        while not stop.is_set():
            httpx.post(f"{server.rest_url}/v1/config/reload", timeout=60)

    reloading = threading.Thread(target=reload)
    reloading.start()
    try:
        statuses = [
            httpx.get(f"{server.rest_url}/v2/health/live", timeout=30).status_code
            for _ in range(64)
        ]
    finally:
        stop.set()
        reloading.join()
    assert set(statuses) == {200}


def pings_until_refused(server: Running, seconds: float) -> int | None:
    """Ping an idle connection, and return how many pings the server took, None for all six."""
    host, _, port = server.grpc_url.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(_PREFACE + _frame(_SETTINGS))
        for number in range(6):
            connection.sendall(_frame(_PING, payload=struct.pack(">Q", number)))
            while (kind := _read(connection)) != (_PING, _ACKNOWLEDGED):
                if kind[0] == _GOAWAY:
                    return number
            time.sleep(seconds)
    return None


def _frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    header = struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + bytes(4)
    return header + payload


def _read(connection: socket.socket) -> tuple[int, int]:
    header = connection.recv(9, socket.MSG_WAITALL)
    if len(header) < 9:
        return _GOAWAY, 0
    length = int.from_bytes(header[:3], "big")
    if length:
        connection.recv(length, socket.MSG_WAITALL)
    return header[3], header[4]


def test_a_server_permits_pings_of_idle_connections_at_the_interval_of_its_settings(
    server: Running, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval is shortened, as the real one is too long for a test."""
    assert pings_until_refused(server, 0.2) is not None
    monkeypatch.setattr("bertqa.artifact._server_settings._PING_MILLISECONDS", 100)
    options = ServeOptions(
        repository, engine="ovms", port=free_port(), rest_port=free_port(), warm_up=False
    )
    with running(options, log=lambda _: None) as permissive:
        assert pings_until_refused(permissive, 0.2) is None


def test_a_real_server_without_options_of_a_later_release_is_served_all_the_same(
    server: Running, repository: Path, tmp_path: Path
) -> None:
    """The real program, behind a help of years ago and a refusal of what was not in it."""
    old = tmp_path / "ovms"
    old.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --help ]; then printf "  --config_path P\\n  --port P\\n  --rest_port P\\n'
        '  --grpc_bind_address A\\n  --rest_bind_address A\\n"; exit; fi\n'
        "for a; do case $a in --rest_workers*|--metrics_enable|--grpc_max*) exit 64;; esac; done\n"
        f'exec {server.engine.program} "$@"\n'
    )
    old.chmod(0o755)
    lines: list[str] = []
    options = replace(
        ServeOptions(repository, engine="ovms", ovms_path=old, warm_up=False),
        port=free_port(),
        rest_port=free_port(),
    )
    with running(options, log=lines.append) as served:
        assert httpx.get(f"{served.rest_url}/v2/models/bert-qa/ready").status_code == 200
    assert sum("ovms does not know --grpc_max_threads" in line for line in lines) == 1
