"""How long a stream waits for a server that is gone: one clock for all requests of a question."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bertqa.client import _task_driver, _thread_driver
from bertqa.client._batcher import Batcher
from bertqa.client._concurrency import ConcurrencyLimit
from bertqa.client._model_registry import ModelRegistry
from bertqa.client._options import Settings
from bertqa.client._question import Question
from bertqa.client._refusals import Refusals
from bertqa.client._scheduler import Scheduler
from bertqa.client._sync.effects import execute
from bertqa.client._turns import Sending, Turns
from bertqa.errors import (
    BertQAError,
    DeadlineExceededError,
    ModelNotReadyError,
    ServerOverloadedError,
    ServerUnreachableError,
)
from bertqa.transport import InferResult, Inputs, ModelMetadata
from tests.support.engines import Served, toy_server
from tests.support.gates import pipe_to, tcp_server
from tests.support.in_process import InProcessTransport
from tests.support.questions import CONTEXT, QUESTION
from tests.support.rest_gate import rest_gate
from tests.support.twins import Twins

TIMEOUT = 300.0
NO_UPSTREAM = b"HTTP/1.1 503 -\r\ncontent-length: 19\r\n\r\nno healthy upstream"


class Clock:
    """A clock that a test puts forward, in place of `time.monotonic`."""

    def __init__(self) -> None:
        self._real = time.monotonic
        self.ahead = 0.0

    def __call__(self) -> float:
        return self._real() + self.ahead


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One in a process of its own: a loop in this one would wait for a clock that goes back."""
    root = tmp_path_factory.mktemp("repository")
    with toy_server("local", root, 1, own_process=True) as server:
        yield server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that pauses of transports put forward in place of taking their time."""
    clock = Clock()
    thread_pause, task_pause = _thread_driver._pause, _task_driver._pause

    def pause(sending: Sending, timeout: float, seconds: float) -> None:
        # As a pause begins, so that the first one is noted where it does.
        sending.hold.pause()
        clock.ahead += seconds
        thread_pause(sending, timeout, 0.0)

    async def awaited_pause(sending: Sending, timeout: float, seconds: float) -> None:
        sending.hold.pause()
        clock.ahead += seconds
        await task_pause(sending, timeout, 0.0)

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(_thread_driver, "_pause", pause)
    monkeypatch.setattr(_task_driver, "_pause", awaited_pause)
    return clock


def stream_fails_in_time(client: Any, clock: Clock) -> None:
    begin = clock()
    with pytest.raises(ServerUnreachableError):
        list(client.answer_many([(QUESTION, CONTEXT)], timeout=TIMEOUT))
    assert 0.9 * TIMEOUT < clock() - begin < 1.2 * TIMEOUT


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_gone_is_waited_for_once(
    clock: Clock, open_client: Twins, server: Served, scheme: str
) -> None:
    with ExitStack() as ways:
        grpc = ways.enter_context(tcp_server(pipe_to(server.grpc_port)))
        rest = ways.enter_context(tcp_server(pipe_to(server.rest_port)))
        if scheme == "grpc":
            client = open_client(f"127.0.0.1:{grpc}", metadata_url=f"http://127.0.0.1:{rest}")
        else:
            client = open_client(f"http://127.0.0.1:{rest}")
        client.answer(QUESTION, CONTEXT)
    stream_fails_in_time(client, clock)
    # Nothing is known of the server any more: the stream begins with its metadata.
    stream_fails_in_time(client, clock)


def test_a_server_that_a_gateway_reports_gone_is_waited_for_once(
    clock: Clock, open_client: Twins, server: Served
) -> None:
    with rest_gate(server.rest_url) as gate:
        client = open_client(gate.url)
        client.answer(QUESTION, CONTEXT)
        for asked in set(gate.asked):
            gate.obstacles[asked.partition(" ")[2]] = [NO_UPSTREAM] * 10_000
        stream_fails_in_time(client, clock)


def test_a_call_that_takes_all_its_time_to_connect_is_not_waited_for_again(
    clock: Clock, open_client: Twins
) -> None:
    class Silent(InProcessTransport):
        """Drops what is sent to it, once it is away."""

        is_away = False

        def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
            self._connect(timeout)
            return super().infer(inputs, version=version, timeout=timeout)

        def metadata(self, *, version: int | None, timeout: float) -> ModelMetadata:
            self._connect(timeout)
            return super().metadata(version=version, timeout=timeout)

        def _connect(self, timeout: float) -> None:
            if self.is_away:
                clock.ahead += timeout
                raise ServerUnreachableError("It is away.")

    transport = Silent()
    client = open_client(transport=transport)
    client.answer(QUESTION, CONTEXT)
    transport.is_away = True
    stream_fails_in_time(client, clock)


@pytest.fixture
def registry() -> ModelRegistry:
    """One that has met a server, which has answered."""
    registry, transport = ModelRegistry(), InProcessTransport()
    for version in (None, 1):
        registry.learn(version, transport.metadata(version=version, timeout=1))
    registry.has_answered = True
    return registry


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Batcher(token_budget=64), Refusals(TIMEOUT, retry=True))


def add(scheduler: Scheduler, registry: ModelRegistry, repeats: int = 1) -> None:
    added = Question(QUESTION, CONTEXT * repeats, 1, Settings.of({}, TIMEOUT))
    scheduler.add(added, added.flow(registry, 1, fall_back=False))


def wake(scheduler: Scheduler) -> None:
    pause = scheduler.next_pause()
    assert pause is not None
    scheduler.wake(pause)


def test_all_requests_after_the_first_failure_end_with_its_time(
    scheduler: Scheduler, registry: ModelRegistry
) -> None:
    add(scheduler, registry)
    batch = scheduler.next_request(last=True)
    assert batch is not None
    assert scheduler.until(batch) is None
    until = time.monotonic() + TIMEOUT / 2
    scheduler.receive(batch, ServerUnreachableError("It is away."), until)
    wake(scheduler)
    fetch = scheduler.next_request(last=True)
    assert fetch is not None
    assert scheduler.until(fetch) == until
    scheduler.receive(fetch, ModelNotReadyError("It is loading."), until + TIMEOUT)
    wake(scheduler)
    fetch = scheduler.next_request(last=True)
    assert fetch is not None
    assert scheduler.until(fetch) == until
    spec = ModelRegistry().learn(1, InProcessTransport().metadata(version=1, timeout=1))
    scheduler.receive(fetch, spec)
    again = scheduler.next_request(last=True)
    assert again is not None
    assert scheduler.until(again) == until


def test_a_question_that_is_over_time_is_not_sent_again_after_a_refusal(
    scheduler: Scheduler, registry: ModelRegistry
) -> None:
    add(scheduler, registry)
    batch = scheduler.next_request(last=True)
    assert batch is not None
    scheduler.receive(batch, ModelNotReadyError("It is loading."), time.monotonic() + 1.0)
    wake(scheduler)
    again = scheduler.next_request(last=True)
    assert again is not None
    scheduler.receive(again, ServerOverloadedError("There is no room.", retry_after=2.0))
    ((_, outcome),) = scheduler.ready()
    assert isinstance(outcome, ServerOverloadedError)


def test_a_server_that_is_back_has_all_the_time_that_a_long_text_takes(
    scheduler: Scheduler, registry: ModelRegistry
) -> None:
    add(scheduler, registry, repeats=15)
    first = scheduler.next_request(last=True)
    assert first is not None
    until = time.monotonic() + 1.0
    scheduler.receive(first, ModelNotReadyError("It is loading."), until)
    wake(scheduler)
    again = []
    while scheduler.has_request(last=True):
        batch = scheduler.next_request(last=True)
        if batch is not None and scheduler.is_wanted(batch):
            again.append(batch)
    assert len(again) > 1
    assert {scheduler.until(batch) for batch in again} == {until}
    answered, *rest = again
    scheduler.receive(answered, execute(InProcessTransport(), answered, TIMEOUT))  # type: ignore[arg-type]
    assert {scheduler.until(batch) for batch in rest} == {None}


@pytest.mark.parametrize("ending", [None, DeadlineExceededError("It was late.")])
def test_the_wait_for_the_fetch_of_another_stream_counts(
    scheduler: Scheduler, clock: Clock, ending: BertQAError | None
) -> None:
    registry = ModelRegistry()
    begin = clock()
    others = registry.flights.begin(1, begin + TIMEOUT / 2)
    assert others is not None
    turns = Turns(
        scheduler,
        ConcurrencyLimit(),
        wake=lambda: None,
        rest=lambda: None,
        timeout=TIMEOUT,
        deadline=None,
    )
    add(scheduler, registry)
    assert turns.next() is None
    clock.ahead += TIMEOUT / 2
    others.land(ending)
    turns.tick()
    own = turns.next()
    assert isinstance(own, Sending)
    assert own.deadline < begin + 1.2 * TIMEOUT
    registry.has_answered = True
    clock.ahead += TIMEOUT / 2 + 1.0
    turns.receive(own, ServerUnreachableError("It is away."))
    ((_, outcome),) = turns.outcomes()
    assert isinstance(outcome, ServerUnreachableError)
