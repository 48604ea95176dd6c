"""OVMS's limits on the local engine, and on a real OVMS where there is one."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb

from bertqa.artifact import usable_cores
from bertqa_serve.engine import LocalServer
from bertqa_serve.engine import server as server_module
from bertqa_serve.engine.limits import GrpcThreads, Limits, RestWorkers
from bertqa_serve.engine.request_error import RequestError
from bertqa_serve.selection import choose_engine
from tests.serve.engine.test_hardening import eventually
from tests.support.servers import AsProcess

MODELS = Path(__file__).parents[1] / "ovms" / "models"
LONG = 1_000_000  # Counts in the model; a second or two.
PROBES = 40  # That they all get the same one of two REST workers has a chance of 2 ** -39.
EXHAUSTED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
SERVICE = "/inference.GRPCInferenceService"


class Asked:
    """A server on the models `slow` and `bert-qa`, over both protocols."""

    def __init__(self, server: AsProcess) -> None:
        self.grpc_port, self.rest_url = server.grpc_port, f"http://127.0.0.1:{server.rest_port}"

    def channel(self, **options: int) -> grpc.Channel:
        """A connection of its own."""
        own = {"grpc.use_local_subchannel_pool": 1, **options}
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=list(own.items()))

    def metric(self, name: str) -> float:
        """Return a metric of the slow model; every connection may reach another worker."""
        text = httpx.get(f"{self.rest_url}/metrics", timeout=60).text
        found = (line for line in text.splitlines() if line.startswith(name) and '"slow"' in line)
        return sum(
            float(line.split()[-1])
            for line in found
            if 'method="ModelInfer"' in line or "method" not in line
        )

    def alive(self) -> None:
        with self.channel() as channel:
            live(channel)


def live(channel: grpc.Channel, timeout: float = 60) -> None:
    ask = channel.unary_unary(f"{SERVICE}/ServerLive")
    ask(b"", timeout=timeout)


def count(channel: grpc.Channel, to: int = LONG) -> Any:
    """Let the slow model count, and return the call's future."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="INT64", shape=[1])
    tensor.contents.int64_contents.append(to)
    request = pb.ModelInferRequest(model_name="slow", inputs=[tensor])
    infer = channel.unary_unary(f"{SERVICE}/ModelInfer")
    return infer.future(request.SerializeToString(), timeout=300)


def failure(ask: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        ask()
    return raised.value.code(), raised.value.details()


def configure(root: Path, *names: str, nireq: int = 1) -> Path:
    entries = [
        {"config": {"name": name, "base_path": str(root / name), "nireq": nireq}} for name in names
    ]
    staged = root / "staged.json"
    staged.write_text(json.dumps({"model_config_list": entries}), encoding="utf-8")
    return staged.rename(root / "config.json")


Start = Callable[..., Any]


@pytest.fixture
def start(engine: str, tmp_path: Path) -> Start:
    """Start a server of either kind with OVMS's flags."""
    for model in ("bert-qa", "slow"):
        shutil.copytree(MODELS / model, tmp_path / model)
    program = [sys.executable, "-m", "bertqa_serve.engine"]
    if engine == "ovms":
        program = [str(choose_engine("ovms").program)]

    @contextmanager
    def started(*flags: str, nireq: int = 1) -> Iterator[Asked]:
        config = configure(tmp_path, "bert-qa", "slow", nireq=nireq)
        arguments = ["--config_path", str(config), "--metrics_enable", *flags]
        arguments += ["--port", "{GRPC_PORT}", "--rest_port", "{REST_PORT}"]
        arguments += ["--grpc_bind_address", "127.0.0.1", "--rest_bind_address", "127.0.0.1"]
        arguments += ["--file_system_poll_wait_seconds", "0"]
        server = AsProcess(program, arguments)
        try:
            asked = Asked(server)
            eventually(lambda: ready(asked.rest_url))
            yield asked
        finally:
            server.close()

    return started


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_a_connection_carries_as_many_calls_as_there_are_cores(start: Start) -> None:
    flags, cores = ("--grpc_max_threads", "0", "--rest_workers", "16"), usable_cores()
    with start(*flags, nireq=cores) as asked, asked.channel() as full:
        calls = [count(full) for _ in range(cores)]
        eventually(lambda: asked.metric("ovms_current_requests") == len(calls) or calls[0].done())
        waiting = failure(lambda: live(full, timeout=0.5))
        assert waiting[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        asked.alive()
        assert not any(call.done() for call in calls)
        for call in calls:
            call.cancel()


def test_a_request_is_current_while_it_holds_an_infer_request(start: Start) -> None:
    with start("--grpc_max_threads", "4", "--rest_workers", "16") as asked, ExitStack() as stack:
        calls = [count(stack.enter_context(asked.channel())) for _ in range(3)]
        with asked.channel() as further:
            eventually(lambda: refused(further))
        assert asked.metric("ovms_current_requests") == 1
        for call in calls:
            call.result()
        assert asked.metric("ovms_current_requests") == 0
        assert asked.metric("ovms_wait_for_infer_req_time_us_count") == 3


def refused(channel: grpc.Channel) -> bool:
    try:
        live(channel)
    except grpc.RpcError as error:
        return (error.code(), error.details()) == EXHAUSTED
    return False


def test_frequent_keepalive_pings_end_the_connection(start: Start) -> None:
    """The server allows a ping in 300 seconds; every few milliseconds is too often sooner."""
    often = {
        "grpc.keepalive_time_ms": 100,
        "grpc.keepalive_timeout_ms": 60_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
    }
    with start() as asked:
        with asked.channel(**often) as channel:
            told = failure(lambda: count(channel, 5 * LONG).result())
            assert told == (grpc.StatusCode.UNAVAILABLE, "Too many pings")
        asked.alive()


def test_pings_are_permitted_by_a_channel_argument(start: Start) -> None:
    often = {"grpc.keepalive_time_ms": 100, "grpc.http2.max_pings_without_data": 0}
    argument = ("--grpc_channel_arguments", "grpc.http2.max_ping_strikes=0")
    with start(*argument) as asked, asked.channel(**often) as channel:
        count(channel).result()


def test_rest_answers_a_moment_before_the_server_is_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STARTING_SECONDS", 3.0)
    shutil.copytree(MODELS / "bert-qa", tmp_path / "bert-qa")
    server = LocalServer(configure(tmp_path, "bert-qa"), limits=Limits(rest_workers=16))
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        eventually(lambda: bool(server.rest_port))
        url = f"http://127.0.0.1:{server.rest_port}"
        live = httpx.get(f"{url}/v2/health/live")
        assert (live.status_code, live.json()["error"]) == (500, "Internal server error")
        assert httpx.get(f"{url}/v2/health/ready").status_code == 503
        assert httpx.post(f"{url}/v1/config/reload").json() == {}
        assert httpx.get(f"{url}/v1/config").json() == {}
        starting.join()
        assert httpx.get(f"{url}/v2/health/live").status_code == 200
    finally:
        starting.join()
        server.stop()


def test_the_defaults_are_those_of_ovms() -> None:
    limits = Limits()
    assert limits.grpc_max_threads == 8 * usable_cores()
    assert limits.grpc_streams == usable_cores()


def test_one_of_the_threads_waits_for_calls() -> None:
    for count_of_threads, calls in ((1, 0), (2, 1), (16, 15)):
        threads = GrpcThreads(count_of_threads)
        with ExitStack() as stack:
            for _ in range(calls):
                stack.enter_context(threads.one())
            with pytest.raises(RequestError, match="Server Threadpool Exhausted"):
                stack.enter_context(threads.one())
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(GrpcThreads(0).one())


def test_a_connection_stays_with_its_worker_and_there_are_two_at_least() -> None:
    workers = RestWorkers(1)
    clients = [("127.0.0.1", port) for port in range(1000)]
    assert len({id(workers.of(client)) for client in clients}) == 2
    assert all(workers.of(client) is workers.of(client) for client in clients)
