"""A real Envoy on the rendered configuration, before a server on loopback."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import httpx
import trustme
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.support.chart import render
from tools.programs import envoy

LISTENERS = {"grpc": 9000, "rest": 8000, "probe": 8081}
ADMINISTRATION = 9901
CLUSTERS = {"ovms_grpc": 9001, "ovms_rest": 8001, "ovms_probe": 8001, "statistics": ADMINISTRATION}


def files(scenario: str = "pvc", values: dict[str, Any] | None = None) -> dict[str, str]:
    data: dict[str, str] = render(scenario, values).one("ConfigMap", "bert-qa-proxy")["data"]
    return data


class Upstream(Protocol):
    """The ports of the server behind the proxy."""

    @property
    def grpc_port(self) -> int: ...
    @property
    def rest_port(self) -> int | None: ...


class Authority:
    """Signs certificates for one run of the proxy; `certificate` is what others trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._authority = trustme.CA()
        self.certificate = directory / "ca.crt"
        self._authority.cert_pem.write_to_path(self.certificate)

    def issue(self, name: str) -> dict[str, bytes]:
        """Return tls.crt and tls.key for a name, as a Secret of that type holds them."""
        issued = self._authority.issue_cert(name)
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        return {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes()}


@dataclass
class Proxy:
    """A running Envoy, and the ports that stand for 9000, 8000, 8081 and 9901."""

    ports: dict[str, int]
    engine: Upstream
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


@contextlib.contextmanager
def running_proxy(
    scenario: str,
    engine: Upstream,
    directory: Path,
    values: dict[str, Any] | None = None,
    *,
    name: str = "localhost",
) -> Iterator[Proxy]:
    """Run Envoy on the rendered files, with only ports and directories put in their places.

    With TLS, its certificate has the one `name`.
    """
    authority = Authority(directory / "authority")
    mount_secret(directory / "tls" / "server", authority.issue(name))
    mount_secret(directory / "tls" / "clients", {"ca.crt": authority.certificate.read_bytes()})
    ports = free_ports()
    assert engine.rest_port is not None
    upstream = {9001: engine.grpc_port, 8001: engine.rest_port, ADMINISTRATION: ports["admin"]}
    replaced = {
        **{
            f"port_value: {LISTENERS[name]}}}": f"port_value: {ports[name]}}}" for name in LISTENERS
        },
        **{
            f"port_value: {port}}}": f"port_value: {upstream[port]}}}" for port in CLUSTERS.values()
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


def free_ports() -> dict[str, int]:
    """A port for each listener and the administration.

    REST is 1000 below gRPC, as clients expect it.
    """
    while True:
        with contextlib.ExitStack() as stack:
            grpc_port, probe_port, admin_port = (_bound(stack, 0) for _ in range(3))
            with contextlib.suppress(OSError, OverflowError):
                rest_port = _bound(stack, grpc_port - 1000)
                ports = {"grpc": grpc_port, "rest": rest_port}
                return {**ports, "probe": probe_port, "admin": admin_port}


def _bound(stack: contextlib.ExitStack, port: int) -> int:
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", port))
    return int(listener.getsockname()[1])


def wait_for_listener(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"Envoy does not listen:\n{log.read_text(encoding='utf-8')}")
