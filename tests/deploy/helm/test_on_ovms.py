"""What the chart renders, run by a real OVMS: its flags, and its proxy in front of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from bertqa_serve.errors import EngineNotFoundError
from bertqa_serve.selection import choose_engine
from tests.deploy.helm.proxy import Proxy, running_proxy
from tests.support.chart import (
    SCENARIOS,
    container,
    pod_specs,
    render,
    server_config,
    server_pod,
)
from tests.support.models import write_config, write_toy_version
from tests.support.servers import AsProcess

pytestmark = pytest.mark.ovms

MODELS = Path(__file__).parents[2] / "serve" / "ovms" / "models"
READY_SECONDS = 60.0
CALLS = 200
# A model that counts up to its input: some seconds on any machine.
LONG = 4_000_000


@pytest.fixture(scope="module")
def program() -> str:
    try:
        return str(choose_engine("ovms").program)
    except EngineNotFoundError as error:
        pytest.skip(str(error))


EXTREMES: tuple[dict[str, object], ...] = (
    {"grpcMaxThreads": 2, "maxConcurrentStreams": 1, "restWorkers": 2, "logLevel": "ERROR"},
    {"grpcMaxThreads": 100000, "maxConcurrentStreams": 100000, "logLevel": "TRACE"},
)


def rendered_flags() -> list[tuple[str, ...]]:
    """Every different command line of a server in the chart's scenarios, and of extreme values."""
    renderings = [render(scenario) for scenario in SCENARIOS]
    renderings += [render(values={"server": server}) for server in EXTREMES]
    found = {
        tuple(one["args"])
        for rendering in renderings
        for pod in pod_specs(rendering).values()
        for one in pod["containers"]
        if one["image"].startswith("openvino/model_server")
    }
    assert len(found) > len(EXTREMES)
    return sorted(found)


@dataclass(frozen=True)
class Running:
    """A real server, with what `running_proxy` reads of a server."""

    process: AsProcess
    grpc_port: int
    rest_port: int


@contextmanager
def serving(program: str, flags: tuple[str, ...], config: Path) -> Iterator[Running]:
    """Start a real server with the chart's flags, on ports and a configuration of the test."""
    own = ("--config_path=", "--port=", "--rest_port=")
    arguments = [flag for flag in flags if not flag.startswith(own)]
    process = AsProcess(
        [program],
        [
            *("--config_path", str(config), "--port", "{GRPC_PORT}", "--rest_port", "{REST_PORT}"),
            *arguments,
        ],
    )
    try:
        url = f"http://127.0.0.1:{process.rest_port}/v2/health/ready"
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(url).status_code == 200:
                    break
            status = process.exit_code(0.1)
            assert status is None, f"ovms ended with {status}: {' '.join(arguments)}"
            assert time.monotonic() < deadline
        yield Running(process, process.grpc_port, process.rest_port)
    finally:
        process.close()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("repository")
    write_toy_version(repository, 1)
    path = write_config(repository)
    content = json.loads(path.read_text(encoding="utf-8"))
    slow = {"name": "slow", "base_path": str(MODELS / "slow"), "nireq": 2}
    content["model_config_list"].append({"config": slow})
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def chart_flags() -> tuple[str, ...]:
    """The flags of the chart's defaults."""
    return tuple(container(server_pod(render()), "ovms")["args"])


@contextmanager
def through_proxy(
    program: str, config: Path, directory: Path, values: dict[str, Any] | None = None
) -> Iterator[Proxy]:
    """Start a real server with the chart's default flags behind the chart's proxy."""
    with (
        serving(program, chart_flags(), config) as server,
        running_proxy("pvc", server, directory, values) as proxy,
    ):
        yield proxy


def test_a_real_server_starts_with_whatever_is_rendered(program: str, config: Path) -> None:
    for flags in rendered_flags():
        with serving(program, flags, config) as server:
            url = f"http://127.0.0.1:{server.rest_port}/v2/models/bert-qa/ready"
            assert httpx.get(url).status_code == 200, flags


@pytest.mark.parametrize("scenario", ["pvc", "two-sockets", "xeon"])
def test_a_real_server_takes_the_settings_of_openvino_that_are_rendered(
    program: str, scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With glibc's huge pages, on a machine that may have none."""
    rendering = render(scenario, {"xeon": {"hugePages": "64Mi"}})
    for variable in container(server_pod(rendering), "ovms")["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    write_toy_version(tmp_path, 1)
    rendered = server_config(rendering)
    rendered["model_config_list"][0]["config"]["base_path"] = str(tmp_path / "bert-qa")
    (tmp_path / "config.json").write_text(json.dumps(rendered), encoding="utf-8")
    with serving(program, chart_flags(), tmp_path / "config.json") as server:
        url = f"http://127.0.0.1:{server.rest_port}/v2/models/bert-qa/ready"
        assert httpx.get(url).status_code == 200


def inference(batch: int, tokens: int) -> service_pb2.ModelInferRequest:
    names = ("input_ids", "attention_mask", "token_type_ids")
    return service_pb2.ModelInferRequest(
        model_name="bert-qa",
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(
                name=name, datatype="INT64", shape=[batch, tokens]
            )
            for name in names
        ],
        raw_input_contents=[np.ones((batch, tokens), np.int64).tobytes() for _ in names],
    )


def test_many_more_calls_at_once_than_cores_are_answered_through_the_proxy(
    program: str, config: Path, tmp_path: Path
) -> None:
    with (
        through_proxy(program, config, tmp_path) as proxy,
        grpc.insecure_channel(f"localhost:{proxy.ports['grpc']}") as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(inference(4, 512), timeout=300) for _ in range(CALLS)]
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}


def test_probes_are_answered_while_users_wait_for_long_requests(
    program: str, config: Path, tmp_path: Path
) -> None:
    body = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [LONG]}]}
    with (
        serving(program, chart_flags(), config) as server,
        running_proxy("pvc", server, tmp_path) as proxy,
        ThreadPoolExecutor(16) as users,
    ):
        url = f"http://localhost:{proxy.ports['rest']}/v2/models/slow/infer"
        waiting = [users.submit(httpx.post, url, json=body, timeout=300) for _ in range(16)]
        answered = 0
        for _ in range(24):
            with suppress(httpx.TimeoutException):
                probe = f"http://localhost:{proxy.ports['probe']}/v2/models/bert-qa/ready"
                answered += httpx.get(probe, timeout=2).status_code == 200
        assert any(not request.done() for request in waiting)
        # Four connections of users, two for each stream, hold four of 128 workers.
        assert answered >= 20
        server.process.close()


def test_calls_beyond_what_the_server_takes_are_refused_as_unavailable(
    program: str, config: Path, tmp_path: Path
) -> None:
    values = {"server": {"maxConcurrentStreams": 1}}
    request = service_pb2.ModelInferRequest(
        model_name="slow",
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1])
        ],
        raw_input_contents=[np.array([LONG], np.int64).tobytes()],
    )
    with through_proxy(program, config, tmp_path, values) as proxy:
        address = f"localhost:{proxy.ports['grpc']}"
        own = [("grpc.use_local_subchannel_pool", 1)]
        with (
            grpc.insecure_channel(address, own) as one,
            grpc.insecure_channel(address, own) as other,
        ):
            calls = [
                service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.future(
                    request, timeout=60
                )
                for channel in (one, other)
            ]
            codes = {call.code() for call in calls}
    assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}


def test_a_stream_is_answered_when_its_caller_closes_it(
    program: str, config: Path, tmp_path: Path
) -> None:
    """OVMS has streams for generative models alone, and the proxy holds a request till its end."""
    with (
        through_proxy(program, config, tmp_path) as proxy,
        grpc.insecure_channel(f"localhost:{proxy.ports['grpc']}") as channel,
    ):
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stream = stub.ModelStreamInfer(iter([inference(1, 8)]), timeout=30)
        assert stream.code() not in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
