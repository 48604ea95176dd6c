"""A pod that goes loses no request: its proxy, its server and its pause, run as in a pod."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bertqa_serve.engine.server import LocalServer
from tests.deploy.helm.proxy import running_proxy
from tests.support.chart import container, render, server_pod
from tests.support.models import write_config, write_toy_version

VALUES = {"proxy": {"maxConnectionSeconds": 1}, "server": {"requestTimeoutSeconds": 1}}


# In place of a second, wait until the test continues.
STEPS = 'sleep() { echo "$1"; read -r _; }\n'


def pause(
    ports: Mapping[str, int], values: dict[str, Any] | None = None, *, first: str = ""
) -> list[str]:
    """The command with which a pod's server begins to end, for ports of this machine."""
    server = container(server_pod(render(values=values)), "ovms")
    command: list[str] = server["lifecycle"]["preStop"]["exec"]["command"]
    (shell, flag, script, name, *seconds), listening = command[:-2], command[-2:]
    assert listening == ["9000", "8000"]
    return [shell, flag, first + script, name, *seconds, str(ports["grpc"]), str(ports["rest"])]


@contextlib.contextmanager
def pausing(command: list[str]) -> Iterator[Callable[[], str]]:
    """Run it a step at a time: each call lets it continue, and returns how long it waits next."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        given, printed = process.stdin, process.stdout
        assert given is not None
        assert printed is not None
        # The first call starts it.
        enters = itertools.chain([""], itertools.repeat("\n"))

        def step() -> str:
            given.write(next(enters))
            return printed.readline().strip()

        try:
            yield step
        finally:
            process.kill()


@pytest.mark.parametrize("listener", ["grpc", "rest"])
def test_a_pod_waits_as_long_as_a_client_is_connected(
    listener: str, engine: LocalServer, tmp_path: Path
) -> None:
    with (
        running_proxy("pvc", engine, tmp_path) as proxy,
        pausing(pause(proxy.ports, first=STEPS)) as step,
        socket.create_connection(("127.0.0.1", proxy.ports[listener])) as client,
    ):
        assert step() == "10", "what leads to the pod needs a while to learn that it goes"
        assert [step() for _ in range(3)] == ["1"] * 3
        client.close()
        for _ in range(45 - 3):
            if not step():
                break
        else:
            raise AssertionError("it waits for a client that has gone")


def test_a_pod_that_no_client_is_connected_to_waits_for_its_services_alone(
    engine: LocalServer, tmp_path: Path
) -> None:
    with (
        running_proxy("pvc", engine, tmp_path) as proxy,
        httpx.Client() as kubelet,
        pausing(pause(proxy.ports, first=STEPS)) as step,
    ):
        probe = f"http://127.0.0.1:{proxy.ports['probe']}/v2/health/live"
        kubelet.get(probe).raise_for_status()
        assert [step(), step()] == ["10", ""]


def test_a_pod_waits_no_longer_than_connections_and_requests_may_last(
    engine: LocalServer, tmp_path: Path
) -> None:
    values = {"proxy": {"maxConnectionSeconds": 12}, "server": {"requestTimeoutSeconds": 2}}
    with (
        running_proxy("pvc", engine, tmp_path) as proxy,
        pausing(pause(proxy.ports, values, first=STEPS)) as step,
        socket.create_connection(("127.0.0.1", proxy.ports["grpc"])),
    ):
        assert [step() for _ in range(11)] == ["10", *["1"] * 9, ""]
    with pausing(pause(proxy.ports, VALUES, first=STEPS)) as step:
        assert [step(), step()] == ["7", ""]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_clients_are_seen_whatever_the_family_of_their_addresses(
    family: socket.AddressFamily,
) -> None:
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    ports = {"grpc": 9, "rest": server.getsockname()[1]}
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with (
        server,
        pausing(pause(ports, first=STEPS)) as step,
        socket.create_connection((host, ports["rest"])),
    ):
        assert [step(), step()] == ["10", "1"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_any_shell_runs_the_pause(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not on PATH")
    with pausing([program, *pause({"grpc": 9, "rest": 9}, first=STEPS)[1:]]) as step:
        assert [step(), step()] == ["10", ""]


class Service:
    """What kube-proxy does: a connection goes to an endpoint of the moment, and stays with it."""

    def __init__(self, endpoints: list[int]) -> None:
        self.endpoints = endpoints
        self.open: dict[int, int] = dict.fromkeys(endpoints, 0)
        self.port = 0
        self._turn = 0
        self._stop: Callable[[], object] = lambda: None
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Service:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join()

    async def _serve(self) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await stopped.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoints = self.endpoints
        endpoint = endpoints[self._turn % len(endpoints)]
        self._turn += 1
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", endpoint)
        self.open[endpoint] += 1
        try:
            await asyncio.gather(_pipe(reader, back_writer), _pipe(back_reader, writer))
        finally:
            self.open[endpoint] -= 1


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Asking(threading.Thread):
    """Asks without pause until stopped, and keeps count of answers and failures."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self._stopped = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                assert self._ask()
                self.answers += 1
            except Exception as error:
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@contextlib.contextmanager
def asking(grpc_port: int, rest_port: int) -> Iterator[list[Asking]]:
    request = service_pb2.ModelReadyRequest(name="bert-qa", version="1")
    url = f"http://127.0.0.1:{rest_port}/v2/models/bert-qa/ready"
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel, httpx.Client() as client:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        users = [
            Asking(lambda: bool(stub.ModelReady(request, timeout=10).ready)),
            Asking(lambda: client.get(url).status_code == 200),
        ]
        for user in users:
            user.start()
        try:
            yield users
        finally:
            for user in users:
                user.stop()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.thorough
def test_clients_that_keep_their_connections_notice_nothing(tmp_path: Path) -> None:
    write_toy_version(tmp_path, 1)
    config = write_config(tmp_path)
    with contextlib.ExitStack() as stack:
        old_pod = stack.enter_context(contextlib.ExitStack())
        engines, ports = [], []
        for name, pod in (("old", old_pod), ("new", stack)):
            (tmp_path / name).mkdir()
            engine = pod.enter_context(LocalServer(config_path=config))
            proxy = pod.enter_context(running_proxy("pvc", engine, tmp_path / name, VALUES))
            engines.append(engine)
            ports.append(proxy.ports)
        old, new = ports
        over_grpc = stack.enter_context(Service([old["grpc"], new["grpc"]]))
        over_rest = stack.enter_context(Service([old["rest"], new["rest"]]))
        users = stack.enter_context(asking(over_grpc.port, over_rest.port))
        wait_for(
            lambda: over_grpc.open[old["grpc"]] + over_rest.open[old["rest"]] > 0,
            "no client is connected to the pod that is to go",
        )
        over_grpc.endpoints, over_rest.endpoints = [new["grpc"]], [new["rest"]]
        # The least of 1 s is enough here, where endpoints change at once.
        shell, flag, script, name, least, *rest = pause(old, VALUES)
        assert int(least) > 1
        subprocess.run([shell, flag, script, name, "1", *rest], check=True)
        assert over_grpc.open[old["grpc"]] == 0, "gRPC still holds on to the old pod"
        assert over_rest.open[old["rest"]] == 0, "REST still holds on to the old pod"
        engines[0].stop()
        old_pod.close()
        answered = [user.answers for user in users]
        wait_for(
            lambda: all(u.answers > n for u, n in zip(users, answered, strict=True)),
            "no client is answered once the old pod is gone",
        )
        for user in users:
            user.stop()
            assert user.failures == []
            assert user.answers > 100
