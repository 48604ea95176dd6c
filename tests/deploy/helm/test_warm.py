"""A pod is ready when its model is warm: its startup probe, run as in a pod."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bertqa.artifact import ModelInfo
from bertqa.transport import AdminClient, rest_address
from bertqa_serve.errors import EngineNotFoundError
from bertqa_serve.selection import choose_engine
from tests.support.chart import container, render, server_pod
from tests.support.engines import Served
from tests.support.json_server import JsonHandler, answering
from tests.support.models import model_info, write_config, write_toy_version


@dataclass(frozen=True)
class Probed:
    """How a probe ended, what it wrote into the server's log, and what for the kubelet's event."""

    status: int
    log: str
    said: str = ""


def probe(port: int, log: Path, *, streams: int = 1, seconds: int = 30) -> Probed:
    """Run the startup probe of a chart's pod against a port of this machine."""
    values = {"server": {"warmUpSeconds": seconds, "streams": streams}}
    server = container(server_pod(render(values=values)), "ovms")
    command: list[str] = server["startupProbe"]["exec"]["command"]
    (*script, chart_port, model, chart_streams, most, output) = command
    assert (chart_port, chart_streams, most, output) == (
        *("8001", str(streams), str(seconds)),
        "/proc/1/fd/1",
    )
    command = [*script, str(port), model, chart_streams, most, str(log)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    logged = log.read_text("utf-8").strip() if log.exists() else ""
    return Probed(ended.returncode, logged, ended.stdout.strip())


@pytest.fixture(params=["local", pytest.param("ovms", marks=pytest.mark.ovms)])
def kind(request: pytest.FixtureRequest) -> str:
    try:
        return str(choose_engine(request.param).kind)
    except EngineNotFoundError as error:
        pytest.skip(str(error))


@contextmanager
def serving(
    kind: str, root: Path, info: ModelInfo | None = None, *, describe: bool = True
) -> Iterator[Served]:
    write_toy_version(root, 1, info=info, describe=describe)
    write_config(root)
    with Served(kind, root) as served:
        yield served


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def answered(served: Served) -> int:
    """How many infer requests over REST the server has answered."""
    with AdminClient(rest_address(served.rest_url), timeout=60) as admin:
        return sum(
            int(sample.value)
            for sample in admin.metrics()
            if sample.name.startswith("ovms_requests_success")
            and sample.labels["method"] == "ModelInfer"
            and sample.labels["interface"] == "REST"
        )


def test_each_length_that_clients_send_is_run_on_each_stream(kind: str, tmp_path: Path) -> None:
    with serving(kind, tmp_path / "models", model_info(max_seq_len=80)) as served:
        before = answered(served)
        probed = probe(port_of(served.rest_url), tmp_path / "log", streams=2)
        assert answered(served) - before == 2 * len([32, 64, 80])
    assert probed.status == 0
    assert probed.log.startswith("warmed up to 80 tokens on 2 streams in ")


def test_a_model_that_does_not_describe_its_lengths_is_ready_as_it_is(
    kind: str, tmp_path: Path
) -> None:
    with serving(kind, tmp_path / "models", describe=False) as served:
        before = answered(served)
        probed = probe(port_of(served.rest_url), tmp_path / "log")
        assert answered(served) == before
    reason = "not warmed up: the model does not describe its input lengths"
    assert probed == Probed(0, reason)


def test_a_model_that_is_not_loaded_is_not_ready(kind: str, tmp_path: Path) -> None:
    with serving(kind, tmp_path / "models") as served:
        (tmp_path / "models" / "config.json").write_text('{"model_config_list": []}')
        with AdminClient(rest_address(served.rest_url), timeout=60) as admin:
            admin.reload()
        probed = probe(port_of(served.rest_url), tmp_path / "log")
    assert (probed.status, probed.log) == (1, "")
    assert probed.said.startswith("/v2/models/bert-qa/versions/1/ready: HTTP/1.1 404 ")


def test_a_server_that_does_not_listen_is_not_ready(free_port: int, tmp_path: Path) -> None:
    said = "/v2/models/bert-qa/versions/1/ready: no answer"
    assert probe(free_port, tmp_path / "log") == Probed(1, "", said)


class Loaded(JsonHandler):
    """A model of 64 tokens that is ready, and fails where it is run."""

    def serve(self) -> None:
        if self.command == "POST":
            self.run()
        else:
            information = {"max_seq_len": "64"}
            inputs = [{"name": "input_ids"}]
            self.answer_json({"inputs": inputs, "rt_info": {"model_info": information}})

    def run(self) -> None:
        self.answer_json({"error": "no memory"}, 500)


def hanging(released: threading.Event) -> type[JsonHandler]:
    """Such a model that does not answer before it is released."""

    class Hanging(Loaded):
        def run(self) -> None:
            released.wait()

    return Hanging


def test_a_model_that_fails_does_not_keep_a_pod_from_its_users(tmp_path: Path) -> None:
    with answering(Loaded) as url:
        probed = probe(port_of(url), tmp_path / "log")
    assert probed.status == 0
    assert probed.log.startswith("warmed up to less than 32 of 64 tokens in ")


def test_a_model_that_hangs_does_so_for_as_long_as_the_values_allow(tmp_path: Path) -> None:
    released = threading.Event()
    with answering(hanging(released)) as url:
        probed = probe(port_of(url), tmp_path / "log", seconds=5)
        released.set()
    assert probed.status == 0
    assert probed.log.startswith("warmed up to less than 32 of 64 tokens in ")


def test_a_server_that_never_ends_its_responses_does_not_keep_the_probe(tmp_path: Path) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    held: list[socket.socket] = []

    def answer_all(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(listening.accept()[0])
                held[-1].sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer_all, args=(listening,), daemon=True).start()
        began = time.monotonic()
        probed = probe(listening.getsockname()[1], tmp_path / "log", seconds=1)
        seconds = time.monotonic() - began
    for each in held:
        each.close()
    assert probed == Probed(0, "not warmed up: the model does not describe its input lengths")
    assert seconds < 30  # The chart is rendered in it, too.


def test_another_kind_of_server_is_named_in_one_line(tmp_path: Path) -> None:
    class Odd(JsonHandler):
        def serve(self) -> None:
            self.wfile.write(b"\0an\0swer\n" * 1000)
            self.close_connection = True

    with answering(Odd) as url:
        probed = probe(port_of(url), tmp_path / "log")
    assert probed == Probed(1, "", "/v2/models/bert-qa/versions/1/ready: answer")


def test_the_log_need_not_be_writable(tmp_path: Path) -> None:
    with answering(Loaded) as url:
        assert probe(port_of(url), tmp_path / "missing" / "log").status == 0


def test_the_kubelet_does_not_cut_it_short() -> None:
    values = {"server": {"warmUpSeconds": 240}}
    started = container(server_pod(render(values=values)), "ovms")["startupProbe"]
    assert started["timeoutSeconds"] > 240 + 1


def test_without_a_warm_up_a_loaded_model_is_ready() -> None:
    server = container(server_pod(render(values={"server": {"warmUpSeconds": 0}})), "ovms")
    assert server["startupProbe"]["httpGet"] == server["readinessProbe"]["httpGet"]
