from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from bertqa import BertQAError, QAClient
from bertqa.artifact import INPUTS
from bertqa_deploy.cluster.access import find_access
from bertqa_deploy.cluster.helm import Helm
from bertqa_serve.engine import LocalServer
from bertqa_serve.engine.metrics import Metrics
from tests.deploy.cluster.api_server import ApiServer, running
from tests.support.models import write_config, write_toy_version
from tests.support.ports import free_port
from tools.programs import helm

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "bert-qa"
RELEASE, NAMESPACE = "bert-qa", "ml"
GATEWAY = (
    *("--set", "gateway.enabled=true"),
    *(
        "--set",
        "gateway.http.parentRefs[0].name=rest",
        "--set",
        "gateway.grpc.parentRefs[0].name=grpc",
    ),
)

_TENSOR = {"datatype": "INT64", "shape": [512, 64], "data": [1] * 512 * 64}
LARGE = {"inputs": [{"name": name, **_TENSOR} for name in INPUTS]}

Install = Callable[..., Helm]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, int]]:
    """What runs in the pods: a server for version 1 and one for version 2, by their REST ports."""
    root = tmp_path_factory.mktemp("pods")
    for version in (1, 2):
        write_toy_version(root, version)
    with ExitStack() as stack:
        ports = {}
        for version in (1, 2):
            config = write_config(root, policy={"specific": {"versions": [version]}})
            server = LocalServer(config, poll_seconds=0, metrics=Metrics(enabled=True))
            stack.enter_context(server)
            assert server.rest_port is not None
            ports[version] = server.rest_port
        yield ports


@pytest.fixture
def api(
    servers: dict[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ApiServer]:
    """A cluster to which KUBECONFIG leads."""
    kubeconfig = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    server = ApiServer(servers)
    with running(server, free_port(), kubeconfig):
        yield server


@pytest.fixture
def install(api: ApiServer) -> Install:
    """Install the chart with version 1 and return the release."""

    def install(*flags: str, program: Path | None = None) -> Helm:
        program = program or helm()
        command = [str(program), "install", RELEASE, str(CHART), "--namespace", NAMESPACE]
        values = [
            "--set",
            "model.pvc.claimName=models",
            "--set",
            "tracks.stable.version=1,tracks.stable.replicas=1",
        ]
        subprocess.run([*command, *values, *flags], check=True, capture_output=True)
        return Helm(RELEASE, find_access(NAMESPACE), CHART, program=str(program))

    return install


@contextmanager
def traffic(
    api: ApiServer,
    servers: dict[int, int],
    *,
    broken: int | None = None,
    slow: int | None = None,
) -> Iterator[None]:
    """Ask the tracks that have weight in the route, as a gateway would.

    Requests to the version `broken` fail; those to `slow` are large and take long.
    """
    ended = threading.Event()

    def ask(client: QAClient, version: int) -> None:
        url = f"http://127.0.0.1:{servers[version]}/v2/models/bert-qa/versions/{version}/infer"
        if version == broken:
            httpx.post(url, json={"inputs": []})
            return
        if version == slow:
            httpx.post(url, json=LARGE, timeout=60).raise_for_status()
            return
        try:
            client.answer("When?", "It was in 1932.")
        except BertQAError as error:
            raise AssertionError("a healthy version failed") from error

    def go() -> None:
        with ExitStack() as stack:
            clients = {
                version: stack.enter_context(QAClient(f"http://127.0.0.1:{port}"))
                for version, port in servers.items()
            }
            while not ended.wait(0.005):
                for name, weight in api.weights[-1].items():
                    if weight:
                        version = api.version_of(name)
                        # One slow answer of a busy machine is not to be the 95th percentile.
                        for _ in range(1 if slow in (None, version) else 20):
                            ask(clients[version], version)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(go)
        try:
            yield
        finally:
            ended.set()
    running.result()
