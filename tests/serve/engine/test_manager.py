"""Loading, retiring and reloading while requests are under way."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bertqa_serve.engine import LocalServer
from bertqa_serve.engine.metrics import Metrics
from tests.serve.engine.test_hardening import body, eventually
from tests.support.servers import AsProcess

MODELS = Path(__file__).parents[1] / "ovms" / "models"
SLOW = 300_000  # Counts in the model; some half a second.


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for model in ("bert-qa", "slow"):
        shutil.copytree(MODELS / model, tmp_path / model)
    configure(tmp_path)
    return tmp_path


def configure(root: Path, *names: str, **settings: object) -> Path:
    policy: dict[str, object] = {"model_version_policy": {"all": {}}}
    entries = [
        {"config": {"name": name, "base_path": name, **policy, **settings}}
        for name in names or ("bert-qa", "slow")
    ]
    path = root / "config.json"
    path.write_text(json.dumps({"model_config_list": entries}), encoding="utf-8")
    return path


class Client:
    def __init__(self, rest_port: int | None) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{rest_port}", timeout=120)

    def get(self, path: str) -> Any:
        return self._http.get(path).json()

    def reload(self) -> int:
        return self._http.post("/v1/config/reload").status_code

    def infer(self, path: str, content: dict[str, object]) -> Any:
        return self._http.post(f"/v2/models/{path}/infer", json=content).json()

    def count(self, to: int) -> Any:
        """Ask the slow model, which answers with the number after counting to it."""
        tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [to]}
        return self.infer("slow", {"inputs": [tensor]})["outputs"][0]["data"][0]

    def is_counting(self) -> bool:
        active = 'ovms_current_requests{name="slow",version="1"} 1.0'
        return active in self._http.get("/metrics").text

    def state(self, model: str, version: str) -> str:
        versions = self.get("/v1/config")[model]["model_version_status"]
        return next((v["state"] for v in versions if v["version"] == version), "none")


@pytest.fixture
def server(repository: Path) -> Iterator[LocalServer]:
    config = repository / "config.json"
    with LocalServer(config, poll_seconds=0, metrics=Metrics(enabled=True)) as server:
        yield server


@pytest.fixture
def client(server: LocalServer) -> Client:
    return Client(server.rest_port)


def in_background(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def test_a_request_ends_on_the_version_it_began_on(client: Client, repository: Path) -> None:
    thread, answers = in_background(lambda: client.count(3 * SLOW))
    eventually(lambda: client.is_counting() or not thread.is_alive())
    configure(repository, "bert-qa")
    assert client.reload() == 200
    thread.join()
    assert answers == [3 * SLOW]
    assert client.state("slow", "1") == "END"
    assert "not found" in client.infer("slow", body())["error"]


def test_a_new_version_is_loaded_before_the_old_one_is_retired(
    client: Client, repository: Path
) -> None:
    latest = {"latest": {"num_versions": 1}}
    configure(repository, "bert-qa", model_version_policy=latest)
    assert client.reload() == 200
    stop = threading.Event()
    seen: set[str] = set()

    def ask() -> None:
        while not stop.is_set():
            seen.add(client.infer("bert-qa", body()).get("model_version", "none"))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for number in range(3, 8):
            shutil.copytree(MODELS / "bert-qa" / "1", repository / "bert-qa" / str(number))
            assert client.reload() == 200
            assert client.state("bert-qa", str(number)) == "AVAILABLE"
        stop.set()
        for future in asking:
            future.result()
    assert "none" not in seen
    assert "7" in seen | {client.infer("bert-qa", body())["model_version"]}


def test_a_request_for_a_version_that_loads_waits_for_it(client: Client, repository: Path) -> None:
    shutil.copytree(MODELS / "slowload" / "1", repository / "slow" / "2")
    thread, _ = in_background(client.reload)
    eventually(lambda: client.state("slow", "2") != "none")
    tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [5]}
    answer = client.infer("slow/versions/2", {"inputs": [tensor]})
    thread.join()
    # Where the machine takes longer than ten seconds to load it, the request is refused.
    assert answer.get("model_version", answer.get("error")) in (
        "2",
        "Model with requested version is not loaded yet",
    )
    assert client.infer("slow/versions/2", {"inputs": [tensor]})["model_version"] == "2"


def test_what_changes_a_model_loads_it_anew_and_a_policy_does_not(
    client: Client, repository: Path
) -> None:
    shape = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "(1,4)")
    configure(repository, "bert-qa", shape=shape)
    assert client.reload() == 200
    assert client.get("/v2/models/bert-qa")["inputs"][0]["shape"] == [1, 4]
    configure(
        repository, "bert-qa", shape=shape, model_version_policy={"latest": {"num_versions": 1}}
    )
    # A file that is broken after it was loaded shows whether it is read again.
    (repository / "bert-qa" / "2" / "model.xml").write_text("<net", encoding="utf-8")
    assert client.reload() == 200
    assert client.infer("bert-qa", body())["model_version"] == "2"
    configure(repository, "bert-qa", shape=shape, nireq=3)
    assert client.reload() == 500
    assert client.infer("bert-qa/versions/1", body())["model_version"] == "1"


def test_settings_that_openvino_refuses_leave_what_is_served(
    client: Client, repository: Path
) -> None:
    configure(repository, "bert-qa", plugin_config={"NUM_STREAMS": "many"})
    assert client.reload() == 500
    assert client.infer("bert-qa", body())["model_version"] == "2"
    configure(repository, "bert-qa", plugin_config={"NUM_STREAMS": "2"})
    assert client.reload() == 200


def test_a_signal_lets_requests_in_flight_end(repository: Path) -> None:
    arguments = ["--config_path", str(repository / "config.json"), "--metrics_enable"]
    arguments += ["--port", "{GRPC_PORT}", "--rest_port", "{REST_PORT}"]
    server = AsProcess([sys.executable, "-m", "bertqa_serve.engine"], arguments)
    try:
        client = Client(server.rest_port)

        def ready() -> bool:
            try:
                return "slow" in client.get("/v1/config")
            except httpx.TransportError:
                return False

        eventually(ready)
        eventually(lambda: client.state("slow", "1") == "AVAILABLE")
        thread, answers = in_background(lambda: client.count(3 * SLOW))
        eventually(lambda: client.is_counting() or not thread.is_alive())
        server.send(signal.SIGTERM)
        assert server.exit_code(120) == 0
        thread.join()
        assert answers == [3 * SLOW]
    finally:
        server.close()
