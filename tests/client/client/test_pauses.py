"""What waits holds no slot, holds up no other version, and does not pass for a quick answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bertqa import AsyncQAClient, QAClient
from bertqa.client._concurrency import ConcurrencyLimit, Hold, Verdict
from bertqa.client._effects import FetchMetadata
from bertqa.client._model_registry import ModelRegistry
from bertqa.client._thread_driver import _pause
from bertqa.client._turns import Sending
from bertqa.errors import (
    ClientStateError,
    DeadlineExceededError,
    ModelNotReadyError,
    ServerUnreachableError,
)
from bertqa.transport import (
    ASYNC_PAUSE,
    SYNC_PAUSE,
    InferResult,
    Inputs,
    Security,
    TransportOptions,
    open_async_transport,
    open_transport,
)
from bertqa.transport._async.searching import AsyncSearchingTransport
from bertqa.transport._pausing import async_pause, sync_pause
from bertqa.transport._sync.searching import SearchingTransport
from tests.support.in_process import InProcessTransport
from tests.support.models import model_info
from tests.support.ports import free_port
from tests.support.questions import CONTEXT, QUESTION

WAITERS = 40


class Loading(InProcessTransport):
    """Version 2 is loading: its transport asks again and again, with pauses."""

    def __init__(self) -> None:
        super().__init__({1: model_info(), 2: model_info()})
        self.loaded = False
        self.attempts = 0

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        while version == 2 and not self.loaded:
            self.attempts += 1
            sync_pause(0.01)
        return super().infer(inputs, version=version, timeout=timeout)


class AsyncLoading(Loading):
    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> Any:  # type: ignore[override]
        while version == 2 and not self.loaded:
            self.attempts += 1
            await async_pause(0.01)
        return InProcessTransport.infer(self, inputs, version=version, timeout=timeout)

    async def metadata(self, *, version: int | None, timeout: float) -> Any:  # type: ignore[override]
        return super().metadata(version=version, timeout=timeout)

    async def close(self) -> None:  # type: ignore[override]
        self.closed = True


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WAITERS) as opened:
        yield opened


def test_threads_that_wait_for_a_loading_version_keep_no_other_from_its_answer(
    pool: ThreadPoolExecutor,
) -> None:
    transport = Loading()
    with QAClient(transport=transport) as client:
        before = client._driver.limit.limit
        waiting = [pool.submit(client.answer, QUESTION, CONTEXT, version=2) for _ in range(WAITERS)]
        stream = client.answer_many([(QUESTION, CONTEXT * 9)] * 100, version=2, look_ahead=8)
        reading = threading.Thread(target=list, args=(stream,))
        reading.start()
        asyncio.run(until(lambda: transport.attempts > 2 * WAITERS))
        for _ in range(50):
            assert client.answer(QUESTION, CONTEXT, version=1).model_version == 1
        assert client._driver.limit.in_flight < before + 2
        transport.loaded = True
        assert {each.result().model_version for each in waiting} == {2}
        reading.join()
        assert client._driver.limit.in_flight == 0


async def test_tasks_that_wait_for_a_loading_version_keep_no_other_from_its_answer() -> None:
    transport = AsyncLoading()
    async with AsyncQAClient(transport=transport) as client:
        limit = client._driver.limit
        before = limit.limit
        waiting = [
            asyncio.create_task(client.answer(QUESTION, CONTEXT, version=2)) for _ in range(WAITERS)
        ]
        await until(lambda: transport.attempts > 2 * WAITERS)
        for _ in range(50):
            assert (await client.answer(QUESTION, CONTEXT, version=1)).model_version == 1
        transport.loaded = True
        assert {each.model_version for each in await asyncio.gather(*waiting)} == {2}
        # What paused raises no limit.
        assert limit.limit == before
        assert (limit.in_flight, limit.waiting) == (0, 0)


async def test_a_pause_ends_at_the_deadline_where_no_slot_is_free() -> None:
    transport = AsyncLoading()
    async with AsyncQAClient(transport=transport) as client:
        client._driver.limit = ConcurrencyLimit(1, 1)
        task = asyncio.create_task(client.answer(QUESTION, CONTEXT, version=2, timeout=1.0))
        await until(lambda: client._driver.limit.in_flight == 0 and transport.attempts > 0)
        held = client._driver.limit.request(lambda: None, 2)
        assert held.is_held
        with pytest.raises(DeadlineExceededError, match="too many questions are in flight"):
            await task
        client._driver.limit.release(held)
        assert (client._driver.limit.in_flight, client._driver.limit.waiting) == (0, 0)


async def test_a_task_that_is_cancelled_in_a_pause_leaves_nothing() -> None:
    transport = AsyncLoading()
    async with AsyncQAClient(transport=transport) as client:
        task = asyncio.create_task(client.answer(QUESTION, CONTEXT, version=2))
        await until(lambda: transport.attempts > 3)
        task.cancel()
        await asyncio.wait([task])
        attempts = transport.attempts
        assert (client._driver.limit.in_flight, client._driver.limit.waiting) == (0, 0)
        await client.answer(QUESTION, CONTEXT, version=1)
        assert transport.attempts <= attempts + 1


def test_a_stream_that_is_closed_in_a_pause_leaves_nothing() -> None:
    transport = Loading()
    with QAClient(transport=transport) as client:
        transport.loaded = True
        stream = client.answer_many([(QUESTION, CONTEXT)] * 100, version=2, look_ahead=2)
        next(stream)
        transport.loaded = False
        attempts = transport.attempts
        client._driver.limit.release(client._driver.limit.request(lambda: None))
        stream.close()  # type: ignore[attr-defined]
        transport.loaded = True
        asyncio.run(until(lambda: client._driver.limit.in_flight == 0))
        assert client._driver.limit.waiting == 0
        assert transport.attempts >= attempts


class NotReady:
    """Has a version that is loading."""

    def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        raise ModelNotReadyError("It is loading.")

    def renew(self) -> None:
        pass

    def close(self) -> None:
        pass


class AsyncNotReady:
    async def infer(self, inputs: Inputs, *, version: int | None, timeout: float) -> InferResult:
        raise ModelNotReadyError("It is loading.")

    async def renew(self) -> None:
        pass

    async def close(self) -> None:
        pass


def options() -> TransportOptions:
    return {"model": "bert-qa", "metadata_url": None, "learns": True, "security": Security()}


@pytest.mark.parametrize(
    ("open_one", "error"),
    [
        (lambda: SearchingTransport(NotReady), ModelNotReadyError),  # type: ignore[arg-type]
        (
            lambda: open_transport(f"http://localhost:{free_port()}", options()),
            ServerUnreachableError,
        ),
    ],
)
def test_pauses_of_a_transport_are_left_to_its_caller(
    open_one: Callable[[], Any], error: type[Exception]
) -> None:
    found: list[float] = []
    token = SYNC_PAUSE.set(found.append)
    try:
        with pytest.raises(error):
            open_one().infer({}, version=1, timeout=5.0)
    finally:
        SYNC_PAUSE.reset(token)
    assert len(found) >= 3


@pytest.mark.parametrize(
    ("open_one", "error"),
    [
        (lambda: AsyncSearchingTransport(AsyncNotReady), ModelNotReadyError),  # type: ignore[arg-type]
        (
            lambda: open_async_transport(f"http://localhost:{free_port()}", options()),
            ServerUnreachableError,
        ),
    ],
)
async def test_pauses_of_a_transport_that_is_awaited_are_left_to_its_caller(
    open_one: Callable[[], Any], error: type[Exception]
) -> None:
    found: list[float] = []

    async def pause(seconds: float) -> None:
        found.append(seconds)

    token = ASYNC_PAUSE.set(pause)
    try:
        with pytest.raises(error):
            await open_one().infer({}, version=1, timeout=5.0)
    finally:
        ASYNC_PAUSE.reset(token)
    assert len(found) >= 3


def hold(limit: ConcurrencyLimit, version: int | None = None) -> Hold:
    slot = limit.request(lambda: None, version)
    assert slot.is_held
    return Hold(limit, slot)


def test_an_answer_after_a_pause_does_not_raise_the_limit() -> None:
    limit = ConcurrencyLimit(at_first=1)
    paused = hold(limit)
    paused.pause()
    assert limit.in_flight == 0
    assert paused.resume(lambda: None)
    paused.resumed()
    paused.release(object(), 60.0)
    assert limit.limit == 1
    hold(limit).release(object(), 60.0)
    assert limit.limit == 2


def test_a_slot_that_comes_after_its_request_was_given_up_is_given_back() -> None:
    limit = ConcurrencyLimit(at_first=1)
    given_up = hold(limit)
    given_up.pause()
    given_up.release()
    assert given_up.resume(lambda: None), "there is nothing to wait for"
    assert given_up.is_over
    assert (limit.in_flight, limit.waiting) == (0, 0)


def test_a_request_that_is_given_up_while_it_waits_for_a_slot_is_woken() -> None:
    limit = ConcurrencyLimit(at_first=1)
    given_up = hold(limit)
    sending = Sending(FetchMetadata(None, ModelRegistry()), time.monotonic() + 60.0, given_up, None)
    given_up.pause()
    other = hold(limit)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(_pause, sending, 60.0, 0.0)
        asyncio.run(until(lambda: limit.waiting == 1))
        given_up.release()
        with pytest.raises(ClientStateError):
            waiting.result(timeout=60)
    other.release()
    assert (limit.in_flight, limit.waiting) == (0, 0)


def test_answers_that_were_waited_for_do_not_raise_the_limit() -> None:
    """As of a server that is started anew: gRPC waits for it by itself."""
    limit = ConcurrencyLimit(at_first=1)
    assert all(limit.is_usual(0.02) for _ in range(10))
    assert not limit.is_usual(3.0)
    assert limit.is_usual(0.02)
    slow = ConcurrencyLimit(at_first=1)
    assert all(slow.is_usual(2.0) for _ in range(10))
    assert ConcurrencyLimit().is_usual(3.0)


def test_a_version_has_one_request_on_its_way_whatever_others_hold() -> None:
    limit = ConcurrencyLimit(at_first=2)
    held = [limit.request(lambda: None, 2) for _ in range(2)]
    waiting = limit.request(lambda: None, 2)
    healthy = limit.request(lambda: None, 1)
    next_one = limit.request(lambda: None, 1)
    assert [each.is_held for each in (*held, waiting, healthy, next_one)] == [1, 1, 0, 1, 0]
    limit.release(healthy, Verdict.NOTHING)
    assert next_one.is_held
    assert not waiting.is_held
    for each in (*held, next_one):
        limit.release(each)
    assert waiting.is_held
    limit.release(waiting)
    assert (limit.in_flight, limit.waiting) == (0, 0)
