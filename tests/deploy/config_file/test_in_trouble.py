"""Switches on a server that hangs, restarts, answers late, or holds on to its last requests."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpc

from bertqa.transport import served_versions
from bertqa_deploy import server as server_module
from bertqa_deploy import waiting
from bertqa_deploy.errors import RolledBackError, SwitchUnfinishedError
from bertqa_deploy.server import Server
from tests.deploy.config_file.conftest import ONLY_1, POLL_SECONDS, Operated, operate
from tests.serve.engine.test_hardening import eventually
from tests.support.engines import Served, toy_server
from tests.support.models import write_config
from tests.support.rest_gate import HANG, RestGate, rest_gate

pytestmark = pytest.mark.thorough

TO_2 = {2: 100.0}
SLOW_MODEL = Path(__file__).parents[2] / "serve" / "ovms" / "models" / "slow" / "1"
COUNTED = 10_000_000  # Longer than a switch takes on a busy machine.
MOMENTS = ["on trial", "served", "the split is"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a slow answer be one of half a second, so that a test need not take minutes."""
    monkeypatch.setattr(server_module, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(waiting, "_FIRST_REPORT_SECONDS", 0.5)


@pytest.fixture
def process(engine: str, tmp_path: Path) -> Iterator[Served]:
    """A server that is a process of its own and can be stopped and killed."""
    root = tmp_path / "model_repository"
    with toy_server(engine, root, 1, 2, policy=ONLY_1, own_process=True) as server:
        yield server


class Trouble:
    """Something that happens to a server at a moment of a switch, and ends when it was noticed."""

    def __init__(self, moment: str, begin: Callable[[], object], end: Callable[[], object]) -> None:
        self.steps: list[str] = []
        self._moment, self._begin, self._end = moment, begin, end
        self._begun = False
        self._noticed = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._ending: Future[object] | None = None

    def on_step(self, step: str) -> None:
        self.steps.append(step)
        if "to answer" in step:
            self._noticed.set()
        if self._moment in step and not self._begun:
            self._begun = True
            self._begin()
            self._ending = self._pool.submit(self._finish)

    def _finish(self) -> None:
        assert self._noticed.wait(120)
        self._end()

    def check(self) -> None:
        """Assert that it has come and gone."""
        assert self._ending is not None
        self._ending.result()


def hang(server: Served, moment: str) -> Trouble:
    return Trouble(moment, lambda: server.send(signal.SIGSTOP), lambda: server.send(signal.SIGCONT))


def restart(server: Served, moment: str) -> Trouble:
    return Trouble(moment, server.kill, server.start)


def in_trouble(server: Served, trouble: Trouble) -> Operated:
    # A question that hangs is one of the client's: it ends with the client's timeout.
    patient = Server(server.rest_url, timeout=2, patience=180)
    return operate(server).having(patient, on_step=trouble.on_step, retire=True)


@pytest.mark.parametrize("kind", [hang, restart])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_switch_ends_right_although_the_server_was_away(
    process: Served, kind: Callable[[Served, str], Trouble], moment: str
) -> None:
    trouble = kind(process, moment)

    switched = in_trouble(process, trouble).move(TO_2)

    trouble.check()
    assert (switched.served, switched.split) == ([2], TO_2)
    assert operate(process).server.split("bert-qa") == TO_2
    assert [(v.version, v.state) for v in served_versions(process.rest_url)][-1] == (
        2,
        "AVAILABLE",
    )


@pytest.mark.parametrize("kind", [hang, restart])
def test_back_ends_right_although_the_server_was_away(
    process: Served, kind: Callable[[Served, str], Trouble]
) -> None:
    operate(process).having(retire=True).move(TO_2)
    trouble = kind(process, "on trial")

    switched = in_trouble(process, trouble).back()

    trouble.check()
    assert (switched.served, switched.split) == ([1], {1: 100.0})


@pytest.fixture
def gated(engine: str, tmp_path: Path) -> Iterator[tuple[Operated, RestGate]]:
    """A server that is operated through a gate."""
    root = tmp_path / "model_repository"
    with ExitStack() as stack:
        server = toy_server(engine, root, 1, 2, policy=ONLY_1, poll_seconds=POLL_SECONDS)
        operated = operate(stack.enter_context(server))
        gate = stack.enter_context(rest_gate(server.rest_url))
        through = operated.having(Server(gate.url, patience=60), retire=True)
        yield replace(through, rest_url=gate.url), gate


BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"


def test_slow_and_failed_answers_are_survived(gated: tuple[Operated, RestGate]) -> None:
    served, gate = gated
    config = gate.obstacles.setdefault("/v1/config", [])
    config += [HANG, BUSY, HANG]
    assert served.move(TO_2).served == [2]

    config += [HANG, HANG, BUSY]
    gate.obstacles["/v2/models/bert-qa-traffic"] = [HANG, BUSY]
    assert served.back().served == [1]

    config += [BUSY, HANG]
    assert served.server.available("bert-qa") == {1}
    assert not config


def test_a_server_that_looks_by_itself_is_not_asked_to_reload(
    gated: tuple[Operated, RestGate],
) -> None:
    served, gate = gated
    served.move(TO_2)
    served.back()
    assert "GET /v1/config" in gate.asked
    assert "POST /v1/config/reload" not in gate.asked


def test_a_server_that_never_looks_is_asked_once_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_UNNOTICED_SECONDS", 0.2)
    with (
        toy_server("local", tmp_path / "model_repository", 1, 2, policy=ONLY_1) as server,
        rest_gate(server.rest_url) as gate,
    ):
        operated = operate(server).having(Server(gate.url, patience=60), retire=True)
        assert operated.move(TO_2).served == [2]
    # The trial, both versions, the split, and the retirement.
    assert gate.asked.count("POST /v1/config/reload") == 4


def test_a_server_that_never_looks_and_is_not_to_be_asked_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_UNNOTICED_SECONDS", 0.2)
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
    with (
        toy_server("local", tmp_path / "model_repository", 1, 2, policy=ONLY_1) as server,
        rest_gate(server.rest_url) as gate,
    ):
        gate.obstacles["/v1/config/reload"] = [refusal] * 9
        operated = operate(server).having(Server(gate.url, patience=1))
        with pytest.raises(RolledBackError, match="refuses /v1/config/reload: restart it"):
            operated.move(TO_2)


@pytest.fixture
def slow(engine: str, tmp_path: Path) -> Iterator[Served]:
    """A server whose version 1 counts as long as it is asked to."""
    root = tmp_path / "model_repository"
    shutil.copytree(SLOW_MODEL, root / "bert-qa" / "1")
    with toy_server(engine, root, 2, policy=ONLY_1, own_process=True) as server:
        yield server


def count(server: Served) -> str:
    """Count over gRPC: OVMS would answer nothing else on the REST thread that counts."""
    number = grpc.InferInput("x", [1], "INT64")
    number.set_data_from_numpy(np.array([COUNTED]))
    with grpc.InferenceServerClient(server.grpc_url) as client:
        result = client.infer("bert-qa", [number], model_version="1", client_timeout=240)
    return str(result.get_response().model_version)


def is_counting(server: Served) -> bool:
    metrics = httpx.get(f"{server.rest_url}/metrics", timeout=60).text
    return 'ovms_current_requests{name="bert-qa",version="1"} 1' in metrics


def test_a_version_that_does_not_retire_is_waited_for_and_named(slow: Served) -> None:
    operated = operate(slow).having(retire=True)
    waits = "the last requests to version 1 of bert-qa"
    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(count, slow)
        eventually(lambda: is_counting(slow))
        hasty = operated.having(Server(slow.rest_url, timeout=30, patience=2))
        with pytest.raises(SwitchUnfinishedError, match=f"{waits}.*Run the same command again"):
            hasty.move(TO_2)
        # The traffic has moved.
        assert operated.server.split("bert-qa") == TO_2
        assert operated.server.available("bert-qa") == {2}
        assert not counting.done()

        switched = operated.move(TO_2)

        assert counting.result() == "1"
    assert switched.served == [2]
    assert any(f"waiting for {waits} (" in step for step in operated.steps)


def test_versions_that_retire_while_they_are_described_are_read_again(tmp_path: Path) -> None:
    root = tmp_path / "model_repository"
    with toy_server("local", root, 1, 2) as server, rest_gate(server.rest_url) as gate:

        def retire_1() -> None:
            write_config(root, policy={"specific": {"versions": [2]}})
            server.reload()

        gate.obstacles["/v2/models/bert-qa/versions/1"] = [retire_1]
        served = served_versions(gate.url)

    assert [(each.version, each.state, each.precision) for each in served] == [
        (1, "END", ""),
        (2, "AVAILABLE", "fp32"),
    ]


def test_versions_are_listed_although_answers_are_slow_or_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertqa.transport._served_versions.ANSWER_SECONDS", 0.3)
    root = tmp_path / "model_repository"
    with toy_server("local", root, 1) as server, rest_gate(server.rest_url) as gate:
        gate.obstacles["/v1/config"] = [HANG, BUSY, HANG]
        gate.obstacles["/v2/models/bert-qa/versions/1"] = [BUSY, HANG]
        (only,) = served_versions(gate.url)
    assert (only.version, only.is_default) == (1, True)
    assert not any(gate.obstacles.values())
